"""What a sampler has trained: how evenly, in numbers, tables and figures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.plots.visits import MAX_OPERATIONS
from lightning_nas.samplers import DensitySampler, PathSampler
from lightning_nas.spaces import SearchSpace

Floats = NDArray[np.float64]
Table = dict[str, list[Any]]


class SamplingStatistics(Callback):
    """Watches what the sampler of a run trains, whichever it is.

    At the end of every epoch it logs ``sampler/entropy`` (of the choices of this epoch: see ``choice_entropy``) and,
    where the space is small enough to count paths, ``sampler/effective_sample_size`` (of the paths since the start
    of the run, because an epoch has fewer steps than most spaces have paths: see ``effective_sample_size``). It
    writes ``visits.csv``, how often every choice was trained, and ``path_visits.csv``, how often every path was.

    At the end of the run it draws ``visits.png``; ``operations.png``, the share of every operation in every epoch,
    where the space names operations; and for a DensitySampler ``sampling_frequency.png``. Loggers that take images
    get them too.

    Args:
        every_n_epochs: Epochs after which the figures are drawn during the run too; None draws them at its end only.

    Attributes:
        history: How often every choice was trained in every finished epoch, each of shape (decisions, choices).
    """

    def __init__(self, every_n_epochs: int | None = None) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise NASError(f"SamplingStatistics.every_n_epochs is {every_n_epochs}: valid are numbers from 1")
        self.every_n_epochs = every_n_epochs
        self.history: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier run.

        Raises:
            NASError: There is no sampler to watch.
        """
        if stage == "fit":
            self.history = []
            _sampler(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues them."""
        self.history = state_dict["history"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs and writes what was trained until now."""
        assert isinstance(pl_module, SupernetModule)
        sampler, space = _sampler(trainer), pl_module.space
        self.history.append(sampler.choice_visits - sum(self.history, torch.tensor(0)))
        metrics = {"sampler/entropy": choice_entropy(self.history[-1], space)}
        if sampler.visits is not None:
            metrics["sampler/effective_sample_size"] = effective_sample_size(sampler.visits)
        log_metrics(trainer, metrics)
        if trainer.is_global_zero:
            root = Path(trainer.default_root_dir)
            plots.save_table(root / "visits.csv", _choice_table(sampler.choice_visits, space))
            if sampler.visits is not None:
                archs = map(space.encode, space)
                plots.save_table(root / "path_visits.csv", {"arch": archs, "visits": sampler.visits.tolist()})
        if self.every_n_epochs is not None and len(self.history) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the figures."""
        assert isinstance(pl_module, SupernetModule)
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, module: SupernetModule) -> None:
        sampler, space = _sampler(trainer), module.space
        if not trainer.is_global_zero or not sampler.choice_visits.any():
            return
        visits = plots.choice_visits(_of_choices(sampler.choice_visits, space), _names(space))
        self._save(trainer, "visits", visits, _choice_table(sampler.choice_visits, space))
        operations = {name for names in _operations(space) for name in names or ()}
        if 1 < len(operations) <= MAX_OPERATIONS:
            self._draw_operations(trainer, space)
        if isinstance(sampler, DensitySampler) and sampler.distance is not None:
            self._draw_frequency(trainer, space, sampler)

    def _draw_operations(self, trainer: Trainer, space: SearchSpace) -> None:
        names, shares = operation_shares(torch.stack(self.history), space)
        epochs = range(1, len(shares) + 1)
        figure = plots.operations_over_epochs(epochs, shares, names, "trained operations")
        columns = {name: shares[:, i].tolist() for i, name in enumerate(names)}
        self._save(trainer, "operations", figure, {"epoch": list(epochs), **columns})

    def _draw_frequency(self, trainer: Trainer, space: SearchSpace, sampler: DensitySampler) -> None:
        assert sampler.visits is not None
        assert sampler.distance is not None
        archs = [space.encode(path) for path in space]
        figure = plots.sampling_frequency(sampler.distance.numpy(), {"density": sampler.visits}, archs)
        table = {"arch": archs, "mean_distance": sampler.distance.tolist(), "visits": sampler.visits.tolist()}
        self._save(trainer, "sampling_frequency", figure, table)

    def _save(self, trainer: Trainer, name: str, figure: Figure, table: Table) -> None:
        plots.save(figure, Path(trainer.default_root_dir) / f"{name}.png", table)
        log_figure(trainer, f"sampler/{name}", figure)


def choice_entropy(visits: ArrayLike, space: SearchSpace) -> float:
    """How evenly choices were trained: 1 where all of a decision are alike, 0 where only one was.

    The mean over all decisions of the entropy of the shares of their choices, divided by its largest value, the
    logarithm of the number of choices. Decisions without alternative take no part. In a space that is no product
    even uniform paths have less than 1.

    Args:
        visits: How often every choice was trained, shape (decisions, choices).
        space: Says which choices there are.

    Returns:
        In [0, 1]; NaN where nothing was trained, or there is nothing to choose.
    """
    entropies = []
    for counts, choices in zip(np.asarray(visits, dtype=np.float64), space.choices, strict=True):
        if len(choices) > 1:
            shares = counts[counts > 0] / counts.sum()
            entropies.append((shares * np.log(1 / shares)).sum() / np.log(len(choices)))
    return min(1.0, float(np.mean(entropies))) if entropies and np.asarray(visits).any() else float("nan")


def effective_sample_size(visits: ArrayLike) -> float:
    """Kish's size of an even sample that is worth as much: (sum of visits)^2 / sum of squared visits.

    Args:
        visits: How often every path was trained, shape (size,).

    Returns:
        From 1 (one path only) to the number of paths (all alike); NaN where nothing was trained.

    Example:
        >>> effective_sample_size([2, 2, 0, 0])
        2.0
    """
    counts = np.asarray(visits, dtype=np.float64)
    return float(counts.sum() ** 2 / np.square(counts).sum()) if counts.any() else float("nan")


def operation_shares(history: ArrayLike, space: SearchSpace) -> tuple[list[str], Floats]:
    """The share of every operation in all choices of an epoch.

    Args:
        history: How often every choice was trained, shape (epochs, decisions, choices).
        space: Names the operations; decisions that choose something else take no part.

    Returns:
        Names of the operations, and shares of shape (epochs, operations); NaN in epochs that trained nothing.
    """
    counts = np.asarray(history, dtype=np.float64)
    totals: dict[str, Floats] = {}
    for decision, names in enumerate(_operations(space)):
        for choice, name in enumerate(names or ()):
            totals[name] = totals.get(name, 0) + counts[:, decision, choice]
    trained = np.stack(list(totals.values()), axis=1)
    every = trained.sum(axis=1, keepdims=True)
    return list(totals), trained / np.where(every > 0, every, np.nan)


def _sampler(trainer: Trainer) -> PathSampler:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, PathSampler):
            return callback
    raise NASError(
        "SamplingStatistics needs a sampler among the Trainer's callbacks, such as UniformSampler()"
    )


def _operations(space: SearchSpace) -> list[tuple[str, ...] | None]:
    """The operations of every decision; None where its choices are none, or numbers of its own such as ``3: 0``."""
    return [None if names is None or ": " in names[0] else names for names in space.choice_names]


def _names(space: SearchSpace) -> list[tuple[str, ...]]:
    """What choices are called in tables and figures: as operations, or else by number.

    The only decision of a space is the whole architecture.
    """
    if len(space.num_choices) == 1:
        paths = [(choice,) for choice in range(space.num_choices[0])]
        return [tuple(space.encode(path) if space.is_valid(path) else str(*path) for path in paths)]
    return [
        names or tuple(map(str, range(number)))
        for names, number in zip(_operations(space), space.num_choices, strict=True)
    ]


def _of_choices(visits: Tensor, space: SearchSpace) -> Floats:
    """Visits, NaN where a decision has no such choice."""
    counts = np.full(visits.shape, np.nan)
    for decision, choices in enumerate(space.choices):
        counts[decision, list(choices)] = visits[decision, list(choices)]
    return counts


def _choice_table(visits: Tensor, space: SearchSpace) -> Table:
    names = _names(space)
    rows = [
        (decision, choice, names[decision][choice], int(visits[decision, choice]))
        for decision, choices in enumerate(space.choices)
        for choice in choices
    ]
    return dict(
        zip(("decision", "choice", "name", "visits"), map(list, zip(*rows, strict=True)), strict=True)
    )
