"""Ranks the paths of a space by their one-shot scores, and says how far that ranking can be trusted."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from lightning_nas.data import ImageDataModule
from lightning_nas.density import mean_distances, probe_indices
from lightning_nas.errors import NASError
from lightning_nas.evaluation import Scores, select_paths
from lightning_nas.evaluation.selection import ENUMERABLE, PathSelection
from lightning_nas.files import written_whole
from lightning_nas.module import SupernetModule
from lightning_nas.ranking import TabularBenchmark, density_bias, ranking_metrics
from lightning_nas.spaces import ListedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture


class Ranking(Callback):
    """Scores paths at every validation, and compares the ranking with ground truth where a table is given.

    During ``fit`` the criteria are logged as ``ranking/...`` at every validation, so the Trainer's
    ``check_val_every_n_epoch`` says how often. ``validate`` writes ``ranking.csv`` and ``ranking.json`` into
    the run directory, with the density bias of the ranking, and ``density.csv``; ``test`` writes
    ``test_ranking.*`` from the test split.

    Args:
        benchmark: CSV file of ground truth, ``arch,<dataset>,...``; None ranks without comparing. A table of
            the whole space serves its parts too, and of a space too large to enumerate the table holds some.
        dataset: Column of the table; None takes the only one.
        paths: ``all``, or how many paths to draw; those of the table, where the space is too large to enumerate.
        probe_size: Validation images on which densities are measured.
    """

    def __init__(
        self,
        benchmark: str | None = None,
        dataset: str | None = None,
        paths: PathSelection = "all",
        probe_size: int = 64,
    ) -> None:
        self.benchmark = benchmark
        self.dataset = dataset
        self.paths = paths
        self.probe_size = probe_size
        self._truth: dict[Architecture, float] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Chooses the paths and reads the table, before anything is trained.

        Raises:
            NASError: The module is no supernet, the table does not fit the space, or all paths are asked of a
                space that cannot be enumerated.
        """
        if not isinstance(pl_module, SupernetModule):
            raise NASError(f"Ranking needs a SupernetModule, not a {type(pl_module).__name__}")
        if stage == "predict":
            return
        candidates = pl_module.space
        if self.benchmark is not None:
            self._truth = _ground_truth(self.benchmark, self.dataset, pl_module.space)
            if pl_module.space.size > ENUMERABLE:
                candidates = ListedSpace(pl_module.space, tuple(sorted(self._truth)))
        pl_module.eval_paths = select_paths(candidates, self.paths)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the criteria; a validation writes them, a training keeps the scores of the epoch."""
        assert isinstance(pl_module, SupernetModule)
        self._rank(trainer, pl_module, prefix="" if trainer.state.fn == "validate" else None)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs and writes the criteria on the test split."""
        assert isinstance(pl_module, SupernetModule)
        self._rank(trainer, pl_module, prefix="test_")

    def _rank(self, trainer: Trainer, module: SupernetModule, prefix: str | None) -> None:
        """Logs the criteria; with a prefix measures densities too, and writes everything."""
        scores, truth = module.scores.scores(), self._truth_of(module)
        distance = None if prefix is None else self._mean_distance(trainer, module)
        report: dict[str, float] = {"n": len(module.eval_paths)}
        if truth is not None:
            report |= ranking_metrics(scores.accuracy, truth)
        if truth is not None and distance is not None:
            report |= vars(density_bias(distance, scores.accuracy, truth))
        logged = {f"ranking/{key}": float(value) for key, value in report.items() if key != "n"}
        module.log_dict(logged, sync_dist=True)
        if trainer.state.fn == "fit" and trainer.is_global_zero and not trainer.sanity_checking:
            epoch = f"epoch_{trainer.current_epoch + 1:04d}.csv"
            _write_epoch(Path(trainer.default_root_dir) / "scores" / epoch, module, scores)
        if prefix is not None and trainer.is_global_zero:
            root = Path(trainer.default_root_dir)
            _write_scores(root / f"{prefix}ranking.csv", module, scores, truth)
            if distance is not None:
                _write_distances(root / "density.csv", module, distance)
            _write_report(root / f"{prefix}ranking.json", report)
            best = int(scores.accuracy.argmax())
            arch = module.space.encode(module.eval_paths[best])
            table = root / f"{prefix}ranking.csv"
            rank_zero_info(f"Ranked first: {arch} ({scores.accuracy[best]:.1f} %). All paths are in {table}")

    def _truth_of(self, module: SupernetModule) -> NDArray[np.float64] | None:
        if self._truth is None:
            return None
        return np.array([self._truth[path] for path in module.eval_paths])

    def _mean_distance(self, trainer: Trainer, module: SupernetModule) -> NDArray[np.float64] | None:
        """Mean functional distance of every scored path to the whole space, where that can be enumerated."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if module.space.size > ENUMERABLE or not isinstance(data, ImageDataModule):
            return None
        # Seed 0 and not the run's: two runs are compared on the same images.
        images, labels = data.validation_images(probe_indices(data.num_val, self.probe_size, seed=0))
        distance = mean_distances(module.supernet, tuple(module.space), images, labels, "functional")
        return distance[[module.space.index(path) for path in module.eval_paths]]


def _ground_truth(file: str, dataset: str | None, space: SearchSpace) -> dict[Architecture, float]:
    table = TabularBenchmark.read(file)
    accuracy = table.column(dataset)
    return {path: accuracy[arch] for path, arch in table.paths(space).items()}


def _write_scores(
    path: Path, module: SupernetModule, scores: Scores, truth: NDArray[np.float64] | None
) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["arch", "accuracy", "loss", "ground_truth", "params", "macs"])
        for i, arch in enumerate(module.eval_paths):
            cost = module.space.cost(arch)
            known = "" if truth is None else float(truth[i])
            row = [float(scores.accuracy[i]), float(scores.loss[i]), known, cost.params, cost.macs]
            writer.writerow([module.space.encode(arch), *row])


def _write_epoch(path: Path, module: SupernetModule, scores: Scores) -> None:
    """The scores after some epochs of training."""
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["arch", "accuracy", "loss"])
        archs = map(module.space.encode, module.eval_paths)
        writer.writerows(zip(archs, scores.accuracy.tolist(), scores.loss.tolist(), strict=True))


def _write_report(path: Path, report: dict[str, float]) -> None:
    # NaN is not JSON.
    plain = {key: None if math.isnan(value) else value for key, value in report.items()}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2) + "\n")


def _write_distances(path: Path, module: SupernetModule, distance: NDArray[np.float64]) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["arch", "mean_distance"])
        archs = map(module.space.encode, module.eval_paths)
        writer.writerows(zip(archs, distance.tolist(), strict=True))
