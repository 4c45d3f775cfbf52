"""What paths lose by the training of others."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer

from lightning_nas import plots
from lightning_nas.density.representation import as_weights
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.random import Stream, generator, resolve_seed
from lightning_nas.ranking.stability import forgetting
from lightning_nas.samplers.evolution import accuracies
from lightning_nas.samplers.probe import draw_probe, probe_images
from lightning_nas.spaces import Path as Architecture

COLUMNS = ("epoch", "step", "arch", "right_after", "at_epoch_end", "forgetting")


class Forgetting(Callback):
    """Measures multi-model forgetting: what trained paths lose until the end of the epoch.

    Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures (NeurIPS 2021, Sec. 5.3 and Fig.
    A14): the forgetting value of a path is its accuracy at the end of the epoch minus that right after the step that
    trained it. Negative, where others overwrite its weights; positive, where it profits from their training. Here it
    is measured at some steps of every epoch, in percent points, with batch-norm on the statistics of the images.

    It logs the mean of every epoch as ``forgetting/mean`` and writes ``forgetting.csv``, a row per measured path. At the
    end of the run it draws ``forgetting.png``.

    Args:
        steps: Steps of an epoch, drawn anew for each; all, where it has no more. The paths of their last batch are
            measured.
        probe_size: Validation images, always the same; at least 16, where the supernet has batch-norm.
        seed: Seed of images and steps; None takes the one of ``seed_everything``.
    """

    def __init__(self, steps: int = 20, probe_size: int = 250, seed: int | None = None) -> None:
        if steps < 1:
            raise NASError(f"Forgetting.steps is {steps}: valid are numbers from 1")
        self.steps = steps
        self.probe_size = probe_size
        self._given_seed = seed
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._measured: list[tuple[int, int, Architecture, float]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier run.

        Raises:
            NASError: The module is no supernet.
        """
        require_supernet(self, pl_module)
        if stage == "fit":
            self._clear()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the images."""
        assert isinstance(pl_module, SupernetModule)
        self._seed = resolve_seed(self._given_seed)
        self._probe = draw_probe(trainer, pl_module, self.probe_size, self._seed, "Forgetting.probe_size")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures the paths of chosen steps right after them, on rank 0."""
        accumulated = trainer.accumulate_grad_batches
        if (batch_idx + 1) % accumulated and not trainer.is_last_batch:
            return
        if not trainer.is_global_zero or batch_idx // accumulated not in self._chosen(trainer):
            return
        assert isinstance(pl_module, SupernetModule)
        paths = pl_module.trained_paths
        for path, accuracy in zip(paths, self._accuracies(trainer, pl_module, paths), strict=True):
            self._measured.append((trainer.current_epoch + 1, trainer.global_step, path, accuracy))

    def _chosen(self, trainer: Trainer) -> list[int]:
        """The steps of this epoch, by number."""
        number = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        rng = generator(self._seed, Stream.SUBSET, trainer.current_epoch)
        chosen: list[int] = rng.choice(number, min(self.steps, number), replace=False).tolist()
        return chosen

    def _accuracies(
        self, trainer: Trainer, module: SupernetModule, paths: tuple[Architecture, ...]
    ) -> list[float]:
        images, labels = as_weights(module.supernet, *probe_images(trainer, self._probe))
        batch_size = trainer.datamodule.eval_batch_size  # type: ignore[attr-defined]
        return accuracies(module.supernet, paths, images, labels, batch_size)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the same paths again, logs and writes, on rank 0."""
        assert isinstance(pl_module, SupernetModule)
        epoch = trainer.current_epoch + 1
        # A run that continues from a checkpoint of a validation does not hear of the end of that epoch.
        measured = [row for row in self._measured if row[0] == epoch]
        self._measured = []
        if not measured:
            return
        _, steps, paths, before = zip(*measured, strict=True)
        after = self._accuracies(trainer, pl_module, paths)
        changes = forgetting(before, after)
        archs = map(pl_module.space.encode, paths)
        columns = ([epoch] * len(paths), steps, archs, before, after, changes.tolist())
        self._rows += zip(*columns, strict=True)
        log_metrics(trainer, {"forgetting/mean": float(changes.mean())})
        table = dict(zip(COLUMNS, zip(*self._rows, strict=True), strict=True))
        plots.save_table(Path(trainer.default_root_dir) / "forgetting.csv", table)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws all epochs."""
        if not self._rows or not trainer.is_global_zero:
            return
        epochs = sorted({row[0] for row in self._rows})
        changes = [np.array([row[-1] for row in self._rows if row[0] == epoch]) for epoch in epochs]
        figure = plots.forgetting_over_epochs(epochs, changes)
        plots.save(figure, Path(trainer.default_root_dir) / "forgetting.png")
        log_figure(trainer, "forgetting/changes", figure)

    def state_dict(self) -> dict[str, Any]:
        """The rows of the table, and what was measured in the epoch so far."""
        return {"rows": self._rows, "measured": self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues there."""
        self._rows, self._measured = state_dict["rows"], state_dict["measured"]
