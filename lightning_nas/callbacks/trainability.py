"""How evenly the paths of a supernet learn, in the course of its training."""

import math
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_nas import plots
from lightning_nas.density.representation import FEWEST_IMAGES, as_weights, batch_statistics
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.samplers.probe import image_data
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import Supernet
from lightning_nas.zeroshot import condition_number, tangent_kernel

COLUMNS = ("epoch", "step", "arch", "log10_condition_number")
METRIC = "trainability/log10_condition_number"


class Trainability(Callback):
    """Measures the condition number of the neural tangent kernel of the paths that a training samples.

    Chen et al., Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS, ICLR 2021), Eq. 3, take it of untrained
    networks: the smaller, the easier they are to train. Here it is that of sampled paths with the weights that they have right
    after their step, on training images that are always the same and not augmented, with batch-norm on the
    statistics of these images (see ``lightning_nas.zeroshot.NTK``).

    It logs the median over the paths of every epoch as ``trainability/log10_condition_number`` and writes
    ``trainability.csv``, a row per measured path; infinite is a kernel without inverse. At the end of the run it draws
    ``trainability.png``.

    Args:
        every_n_steps: Optimizer steps between two looks. Each costs as many gradients as there are images, for every path
            of the step's last batch.
        probe_size: Training images, at least 16, where the supernet has batch-norm; at least 2 otherwise.
    """

    def __init__(self, every_n_steps: int = 50, probe_size: int = 16) -> None:
        if every_n_steps < 1:
            raise NASError(f"Trainability.every_n_steps is {every_n_steps}: valid are numbers from 1")
        self.every_n_steps = every_n_steps
        self.probe_size = probe_size
        self._rows: list[tuple[Any, ...]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier run.

        Raises:
            NASError: The module is no supernet, or the images are too few for it.
        """
        module = require_supernet(self, pl_module)
        normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())
        if self.probe_size < (fewest := FEWEST_IMAGES if normalised else 2):
            raise NASError(f"Trainability.probe_size is {self.probe_size}: valid are numbers from {fewest}")
        if stage == "fit":
            self._rows = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the images.

        Raises:
            NASError: There are fewer of them.
        """
        self._probe = image_data(trainer).training_images(self.probe_size)
        if len(self._probe[0]) < self.probe_size:
            raise NASError(
                f"Trainability.probe_size is {self.probe_size}, but there are {len(self._probe[0])} training images"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures the paths of some steps right after them, on rank 0."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if not trainer.is_global_zero or trainer.global_step % self.every_n_steps:
            return
        assert isinstance(pl_module, SupernetModule)
        images, _ = as_weights(pl_module.supernet, *self._probe)
        for path in pl_module.trained_paths:
            number = math.log10(path_condition_number(pl_module.supernet, path, images))
            arch = pl_module.space.encode(path)
            self._rows.append((trainer.current_epoch + 1, trainer.global_step, arch, number))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs and writes, on rank 0."""
        found = [row[-1] for row in self._rows if row[0] == trainer.current_epoch + 1]
        if not found:
            return
        log_metrics(trainer, {METRIC: float(np.median(found))})
        table = dict(zip(COLUMNS, zip(*self._rows, strict=True), strict=True))
        plots.save_table(Path(trainer.default_root_dir) / "trainability.csv", table)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws all epochs."""
        if not self._rows or not trainer.is_global_zero:
            return
        epochs = sorted({row[0] for row in self._rows})
        numbers = [np.array([row[-1] for row in self._rows if row[0] == epoch]) for epoch in epochs]
        figure = plots.trainability_over_epochs(epochs, numbers)
        plots.save(figure, Path(trainer.default_root_dir) / "trainability.png")
        log_figure(trainer, "trainability/over_epochs", figure)

    def state_dict(self) -> dict[str, Any]:
        """The rows of the table."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the table."""
        self._rows = state_dict["rows"]


class _PathNetwork(nn.Module):
    """One path of a supernet, with the layers that it uses and no others."""

    def __init__(self, supernet: Supernet, path: Architecture) -> None:
        super().__init__()
        used = {id(parameter) for parameter in supernet.path_parameters(path)}
        self.layers = nn.ModuleList(
            layer
            for layer in supernet.modules()
            if any(id(parameter) in used for parameter in layer.parameters(recurse=False))
        )
        self._run = partial(supernet, path=path)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes."""
        return cast(Tensor, self._run(images))


@torch.enable_grad()
def path_condition_number(supernet: Supernet, path: Architecture, images: Tensor) -> float:
    """Condition number of the neural tangent kernel of a path, in the weights that it uses.

    Args:
        supernet: Is left as it was.
        path: Of its space.
        images: Normalised, N x C x H x W, where the weights are.

    Returns:
        At least 1; infinite where gradients of images are linearly dependent, NaN where one is not finite.

    Raises:
        NASError: The path has neither convolutions nor linear layers.
    """
    # Not the estimator itself, whose training mode would have SyncBatchNorm wait for other ranks.
    with batch_statistics(supernet):
        return condition_number(tangent_kernel(_PathNetwork(supernet, path), images))
