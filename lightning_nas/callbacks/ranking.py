"""Ranks the paths of a space by their one-shot scores, and says how far that ranking can be trusted."""

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch.nn import SyncBatchNorm

from lightning_nas import checkpoint
from lightning_nas.data import ImageDataModule
from lightning_nas.density import mean_distances, probe_indices
from lightning_nas.errors import NASError
from lightning_nas.evaluation import Calibration, PartialScores, Scores, select_paths
from lightning_nas.evaluation.selection import ENUMERABLE, PathSelection, stratified_paths
from lightning_nas.files import written_whole
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.ranking import (
    TabularBenchmark,
    complexity_bias,
    convergence_correlation,
    density_bias,
    ranking_metrics,
)
from lightning_nas.spaces import ListedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture


class Ranking(Callback):
    """Scores paths at every validation, and compares the ranking with ground truth where a table is given.

    During ``fit`` the criteria are logged as ``ranking/...`` at every validation, so the Trainer's
    ``check_val_every_n_epoch`` says how often. Among them are ``complexity_bias`` and ``complexity_convergence`` (see
    ``lightning_nas.ranking.complexity``), by parameters, or by multiply-adds where all paths have the same parameters.
    ``validate`` writes ``ranking.csv`` and ``ranking.json`` into
    the run directory, with the density bias of the ranking, and ``density.csv``; ``test`` writes
    ``test_ranking.*`` from the test split.

    Args:
        benchmark: CSV file of ground truth, ``arch,<dataset>,...``; None ranks without comparing. A table of
            the whole space serves its parts too, and of a space too large to enumerate the table holds some.
        dataset: Column of the table; None takes the only one.
        paths: ``all``, ``classes`` (one path of every isomorphism class), how many paths to draw, or a file that
            names them; those of the table, where the space is too large to enumerate.
        stratified: Draw the paths evenly over the range of ground truth.
        recalibrate: Training images on which batch-norm statistics are measured anew for every path; 0 leaves them
            alone. Only for supernets with running statistics.
        probe_size: Validation images on which densities are measured, those of all paths of the space; 0 measures none.
        by_batches: ``validate`` also keeps what the first 1, 2, 4, ... batches alone and all of them say of every
            path, as ``scores/batches_0001.csv`` and so on.
    """

    def __init__(
        self,
        benchmark: str | None = None,
        dataset: str | None = None,
        paths: PathSelection = "all",
        stratified: bool = False,
        recalibrate: int = 0,
        probe_size: int = 64,
        by_batches: bool = False,
    ) -> None:
        self.benchmark = benchmark
        self.dataset = dataset
        self.paths = paths
        self.stratified = stratified
        self.recalibrate = recalibrate
        self.probe_size = probe_size
        self.by_batches = by_batches
        self._truth: dict[Architecture, float] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Chooses the paths and reads the table, before anything is trained.

        Raises:
            NASError: The module is no supernet, the table does not fit the space, or all paths are asked of a
                space that cannot be enumerated.
        """
        module = require_supernet(self, pl_module)
        if stage == "predict":
            return
        if self.recalibrate < 0:
            raise NASError(f"ranking.recalibrate is {self.recalibrate}: valid are numbers of images from 0")
        module.eval_paths = self.select(module.space)

    def select(self, space: SearchSpace) -> tuple[Architecture, ...]:
        """Reads the table, and chooses the paths of a space that are scored.

        Raises:
            NASError: The table does not fit the space, or all paths are asked of one that cannot be enumerated.
        """
        if self.benchmark is not None:
            self._truth = TabularBenchmark.read(self.benchmark).truth(space, self.dataset)
        if self.stratified:
            if self._truth is None or not isinstance(self.paths, int):
                raise NASError(
                    f"ranking.stratified needs ranking.benchmark and a number of paths, but ranking.paths is {self.paths}"
                )
            return stratified_paths(self._truth, self.paths)
        if self._truth is not None and space.size > ENUMERABLE:
            space = ListedSpace(space, tuple(sorted(self._truth)))
        return select_paths(space, self.paths)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepares the scoring: statistics of batch-norm, and where to continue after an interruption."""
        assert isinstance(pl_module, SupernetModule)
        pl_module.calibration = self._calibration(trainer, pl_module)
        pl_module.partial_scores = self._partial(trainer, pl_module)

    on_test_epoch_start = on_validation_epoch_start

    def _calibration(self, trainer: Trainer, module: SupernetModule) -> Calibration | None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not self.recalibrate:
            return None
        if not isinstance(data, ImageDataModule):
            raise NASError("ranking.recalibrate needs a datamodule, which knows the training images")
        if trainer.world_size > 1 and any(isinstance(layer, SyncBatchNorm) for layer in module.modules()):
            raise NASError(
                f"ranking.recalibrate is {self.recalibrate}, but every process measures paths of its own, and "
                "trainer.sync_batchnorm makes them wait for each other: leave one out; validate recalibrates afterwards"
            )
        images, _ = data.training_images(self.recalibrate)
        return Calibration(module.supernet, images.to(module.device).split(data.eval_batch_size))

    def _partial(self, trainer: Trainer, module: SupernetModule) -> PartialScores | None:
        """Where an interrupted validation continues; one within a training is short and begins anew."""
        if trainer.state.fn == "fit":
            return None
        settings = {
            "weights": checkpoint.digest(module.supernet),
            "ranking.paths": _digest_of_paths(module),
            "ranking.recalibrate": self.recalibrate,
            "model.norm": str(module.supernet.norm),
            "number of processes": trainer.world_size,
            **_batches(trainer),
        }
        verb = "test" if trainer.state.fn == "test" else "validate"
        name = f"{verb}.partial" + (f"-{trainer.global_rank}" if trainer.world_size > 1 else "")
        return PartialScores(Path(trainer.default_root_dir) / name, settings)

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
        scores, truth = module.evaluator.scores(), self.ground_truth(module)
        distance = None if prefix is None else self._mean_distance(trainer, module)
        report: dict[str, float] = {"n": len(module.eval_paths)}
        if truth is not None:
            report |= ranking_metrics(scores.accuracy, truth)
            complexity = _complexity(module)
            report["complexity_bias"] = complexity_bias(scores.accuracy, truth, complexity)
            report["complexity_convergence"] = convergence_correlation(scores.accuracy, truth, complexity)
        if truth is not None and distance is not None:
            report |= vars(density_bias(distance, scores.accuracy, truth))
        logged = {f"ranking/{key}": float(value) for key, value in report.items() if key != "n"}
        module.log_dict(logged, sync_dist=True)
        if trainer.state.fn == "fit" and trainer.is_global_zero and not trainer.sanity_checking:
            epoch = f"epoch_{trainer.current_epoch + 1:04d}.csv"
            _write_plain(Path(trainer.default_root_dir) / "scores" / epoch, module, scores)
        if trainer.state.fn == "validate" and self.by_batches:
            _write_batches(trainer, module)
        if prefix is not None and trainer.is_global_zero:
            root = Path(trainer.default_root_dir)
            _write_scores(root / f"{prefix}ranking.csv", module, scores, truth)
            if distance is not None:
                _write_distances(root / "density.csv", module, distance)
            _write_report(root / f"{prefix}ranking.json", report, self._settings(trainer, module))
            best = int(scores.accuracy.argmax())
            arch = module.space.encode(module.eval_paths[best])
            table = root / f"{prefix}ranking.csv"
            rank_zero_info(f"Ranked first: {arch} ({scores.accuracy[best]:.1f} %). All paths are in {table}")
        if prefix is not None:
            module.evaluator.finish()

    def _settings(self, trainer: Trainer, module: SupernetModule) -> dict[str, str | int]:
        """On what the scores depend beside the weights."""
        norm = module.supernet.norm
        statistics = "batch" if not norm.running_stats else "recalibrated" if self.recalibrate else "running"
        return {
            "batch_norm": statistics,
            "recalibration_images": self.recalibrate,
            **{key.rpartition(".")[2]: value for key, value in _batches(trainer).items()},
        }

    def ground_truth(self, module: SupernetModule) -> NDArray[np.float64] | None:
        """True accuracies of the paths that validation scores, in percent; None without a table."""
        if self._truth is None:
            return None
        return np.array([self._truth[path] for path in module.eval_paths])

    def _mean_distance(self, trainer: Trainer, module: SupernetModule) -> NDArray[np.float64] | None:
        """Mean functional distance of every scored path to all others, where those can be enumerated."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        measurable = self.probe_size and 2 <= module.space.size <= ENUMERABLE
        if not measurable or not isinstance(data, ImageDataModule):
            return None
        # Seed 0 and not the run's: two runs are compared on the same images.
        probe = probe_indices(data.num_val, self.probe_size, seed=0, key="ranking.probe_size")
        images, labels = data.validation_images(probe)
        distance = mean_distances(module.supernet, tuple(module.space), images, labels, "functional")
        return distance[[module.space.index(path) for path in module.eval_paths]]


def _batches(trainer: Trainer) -> dict[str, int]:
    """How the images were put together, which matters where batch-norm uses the statistics of the batch."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    batches = trainer.num_test_batches if trainer.state.fn == "test" else trainer.num_val_batches
    size = {"data.eval_batch_size": data.eval_batch_size} if isinstance(data, ImageDataModule) else {}
    return size | {"number of batches": int(np.sum(batches))}


def _digest_of_paths(module: SupernetModule) -> str:
    return (
        f"{len(module.eval_paths)} paths {hashlib.sha256(str(module.eval_paths).encode()).hexdigest()[:16]}"
    )


def _complexity(module: SupernetModule) -> list[int]:
    """Parameters of the scored paths, or their multiply-adds where all have the same parameters."""
    costs = [module.space.cost(path) for path in module.eval_paths]
    params = [cost.params for cost in costs]
    return params if len(set(params)) > 1 else [cost.macs for cost in costs]


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


def _write_batches(trainer: Trainer, module: SupernetModule) -> None:
    found = module.evaluator.scores_after()  # which all processes add up
    if not trainer.is_global_zero:
        return
    folder = Path(trainer.default_root_dir) / "scores"
    for earlier in folder.glob("batches_*.csv"):
        earlier.unlink()
    for batches, scores in found.items():
        _write_plain(folder / f"batches_{batches:04d}.csv", module, scores)


def _write_plain(path: Path, module: SupernetModule, scores: Scores) -> None:
    """The scores after some epochs of training, or on some batches."""
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["arch", "accuracy", "loss"])
        archs = map(module.space.encode, module.eval_paths)
        writer.writerows(zip(archs, scores.accuracy.tolist(), scores.loss.tolist(), strict=True))


def _write_report(path: Path, report: dict[str, float], settings: dict[str, str | int]) -> None:
    # NaN is not JSON.
    plain: dict[str, Any] = {key: None if math.isnan(value) else value for key, value in report.items()}
    plain["evaluation"] = settings
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2) + "\n")


def _write_distances(path: Path, module: SupernetModule, distance: NDArray[np.float64]) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["arch", "mean_distance"])
        archs = map(module.space.encode, module.eval_paths)
        writer.writerows(zip(archs, distance.tolist(), strict=True))
