"""How densely a space is populated in the eyes of its supernet, in figures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from lightning_nas import plots
from lightning_nas.callbacks.ranking import Ranking
from lightning_nas.density import Representation, mean_distances
from lightning_nas.density.prototypes import represent
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.samplers.base import PathSampler, of_rank_zero
from lightning_nas.samplers.probe import draw_probe, probe_images
from lightning_nas.spaces import Path as Architecture

Table = dict[str, list[Any]]

MOST_GRADIENTS = 200
"""A gradient takes a backward pass and the memory of the weights, so no more paths are compared by theirs."""


class DensityStatistics(Callback):
    """Watches the densities of the paths that validation scores (``ranking.paths``), whatever the sampler does.

    The pictures of Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, each with its
    numbers beside it:

    - ``density_over_epochs.png``: the distribution of densities in the course of the run (Fig. 4), and where the sampler
      counts paths ``trained_density_over_epochs.png``, that of what was trained.
    - ``gradient_vs_functional_density.png``: whether logits tell the same as gradients (Fig. 2).
    - ``density_vs_accuracy.png``: whether dense paths score better, and with a table of ground truth, whether they are.
    - ``gradient_map.png``: gradients in two dimensions, coloured by over- and underrating (Fig. 1); needs the table.

    Densities over epochs are those of logits. The others are drawn at the end of the run, with the scores of its last
    validation; of more than 200 paths, 200 are compared by gradients.

    Args:
        every_n_epochs: Epochs from one measurement of all densities to the next.
        probe_size: Validation images on which they are measured.

    Attributes:
        epochs: Numbers of the epochs at whose end densities were measured.
        distances: Mean distance of every path to the others at these epochs.
        visits: How often the paths had been trained by then, where the sampler counts paths.
    """

    def __init__(self, every_n_epochs: int = 1, probe_size: int = 64) -> None:
        if every_n_epochs < 1:
            raise NASError(f"DensityStatistics.every_n_epochs is {every_n_epochs}: valid are numbers from 1")
        self.every_n_epochs = every_n_epochs
        self.probe_size = probe_size
        self._begin()

    def _begin(self) -> None:
        self.epochs: list[int] = []
        self.distances: list[Tensor] = []
        self.visits: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew.

        Raises:
            NASError: The module is no supernet.
        """
        require_supernet(self, pl_module)
        if stage == "fit":
            self._begin()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the images, the same ones in all runs.

        Raises:
            NASError: There are too few validation images, or validation scores a single path.
        """
        assert isinstance(pl_module, SupernetModule)
        if len(pl_module.eval_paths) < 2:
            raise NASError(
                "DensityStatistics compares the paths that validation scores, but ranking.paths leaves one"
            )
        self._probe = draw_probe(trainer, pl_module, self.probe_size, seed=0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the densities."""
        assert isinstance(pl_module, SupernetModule)
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        distance = of_rank_zero(trainer, lambda: self._measured(trainer, pl_module, "functional"))
        self.epochs.append(trainer.current_epoch + 1)
        self.distances.append(torch.from_numpy(distance))
        visits = next((c.visits for c in trainer.callbacks if isinstance(c, PathSampler)), None)  # type: ignore[attr-defined]
        if visits is not None:
            self.visits.append(visits[[pl_module.space.index(path) for path in pl_module.eval_paths]].clone())
        log_metrics(trainer, {"density/mean_distance": float(distance.mean())})

    def _measured(
        self,
        trainer: Trainer,
        module: SupernetModule,
        representation: Representation,
        paths: tuple[Architecture, ...] | None = None,
    ) -> NDArray[np.float64]:
        images, labels = probe_images(trainer, self._probe)
        return mean_distances(
            module.supernet, paths or tuple(module.eval_paths), images, labels, representation
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the figures."""
        assert isinstance(pl_module, SupernetModule)
        # All ranks take part in the exchange of scores.
        scores = pl_module.evaluator.scores().accuracy if hasattr(pl_module, "evaluator") else None
        if not trainer.is_global_zero or not self.epochs:
            return
        self._draw_epochs(trainer, pl_module)
        part = _spread_out(len(pl_module.eval_paths))
        self._draw_gradients(trainer, pl_module, part)
        if scores is not None:
            self._draw_accuracies(trainer, pl_module, part, scores)

    def _draw_epochs(self, trainer: Trainer, module: SupernetModule) -> None:
        archs = [module.space.encode(path) for path in module.eval_paths]
        distances = torch.stack(self.distances).numpy()
        figure = plots.density_over_epochs(self.epochs, distances)
        table = {f"epoch_{epoch}": row.tolist() for epoch, row in zip(self.epochs, distances, strict=True)}
        _save(trainer, "density_over_epochs", figure, {"arch": archs, **table})
        since = (
            np.diff(torch.stack(self.visits).numpy(), axis=0, prepend=0) if self.visits else np.zeros((0, 0))
        )
        # An epoch in which none of the paths was trained has no distribution.
        if since.size and since.any(axis=1).all():
            figure = plots.density_over_epochs(self.epochs, distances, since)
            counts = {f"epoch_{epoch}": row.tolist() for epoch, row in zip(self.epochs, since, strict=True)}
            _save(trainer, "trained_density_over_epochs", figure, {"arch": archs, **counts})

    def _draw_gradients(self, trainer: Trainer, module: SupernetModule, part: NDArray[np.intp]) -> None:
        paths = tuple(module.eval_paths[i] for i in part)
        gradients = self._measured(trainer, module, "gradient", paths)
        logits = self._measured(trainer, module, "functional", paths)
        figure = plots.gradient_vs_functional_density(gradients, logits)
        columns = {"gradient_distance": gradients.tolist(), "functional_distance": logits.tolist()}
        archs = [module.space.encode(path) for path in paths]
        _save(trainer, "gradient_vs_functional_density", figure, {"arch": archs, **columns})

    def _draw_accuracies(
        self, trainer: Trainer, module: SupernetModule, part: NDArray[np.intp], scores: NDArray[np.float64]
    ) -> None:
        accuracies = {"supernet": scores}
        ranking = next((c for c in trainer.callbacks if isinstance(c, Ranking)), None)  # type: ignore[attr-defined]
        truth = None if ranking is None else ranking.ground_truth(module)
        if truth is not None:
            accuracies["ground truth"] = truth
            self._draw_map(trainer, module, part, rankdata(scores) - rankdata(truth))
        figure = plots.density_vs_accuracy(self.distances[-1].numpy(), accuracies)
        archs = [module.space.encode(path) for path in module.eval_paths]
        columns = {name: list(values) for name, values in accuracies.items()}
        table = {"arch": archs, "mean_distance": self.distances[-1].tolist(), **columns}
        _save(trainer, "density_vs_accuracy", figure, table)

    def _draw_map(
        self, trainer: Trainer, module: SupernetModule, part: NDArray[np.intp], error: NDArray[np.float64]
    ) -> None:
        """``error``: by how many ranks the score is better than the truth."""
        paths = tuple(module.eval_paths[i] for i in part)
        images, labels = probe_images(trainer, self._probe)
        gradients = represent(module.supernet, paths, images, labels, "gradient_concat", seed=0).numpy()
        archs = [module.space.encode(path) for path in paths]
        figure = plots.gradient_map(gradients, error[part], archs)
        _save(trainer, "gradient_map", figure, {"arch": archs, "rank_error": error[part].tolist()})

    def state_dict(self) -> dict[str, Any]:
        """The measurements so far."""
        return {"epochs": self.epochs, "distances": self.distances, "visits": self.visits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues them."""
        self.epochs, self.distances, self.visits = (
            state_dict[key] for key in ("epochs", "distances", "visits")
        )


def _spread_out(number: int) -> NDArray[np.intp]:
    """At most 200 of so many positions, evenly."""
    return np.unique(np.linspace(0, number - 1, min(number, MOST_GRADIENTS)).round().astype(np.intp))


def _save(trainer: Trainer, name: str, figure: Figure, table: Table) -> None:
    plots.save(figure, Path(trainer.default_root_dir) / f"{name}.png", table)
    log_figure(trainer, f"density/{name}", figure)
