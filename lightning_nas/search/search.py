"""A search within a validation of Lightning, which brings devices, ranks and precision."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm

from lightning_nas import checkpoint
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.files import require_writable
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.constraints import Constraint, FeasibleSpace
from lightning_nas.search.result import Result, settings_of
from lightning_nas.search.runner import Evaluation, run
from lightning_nas.search.scoring import Criterion, SupernetScorer
from lightning_nas.search.shifting import Shifting, ShiftingScorer
from lightning_nas.spaces import Path as Architecture

TOP = 10
"""Paths that are scored in the end, with the final weights and on all images."""

LABELS = {"accuracy": "supernet accuracy (%)", "loss": "minus the supernet's loss"}


class Search(Callback):
    """Searches before the validation begins, and lets the validation score the best paths.

    Args:
        algorithm: Chooses what is scored.
        feasible: The paths that are good enough to be scored.
        folder: Where the results go.
        seed: Of the search.
        criterion: What a score is.
        recalibrate: Training images for the batch-norm statistics of every path.
        shifting: How the weights are trained meanwhile; None leaves them alone.
        truth: Ground truth of paths in percent, which is shown beside their scores.
        progress: Whether a progress bar is shown.

    Attributes:
        result: What was found; None before that.

    Raises:
        NASError: The space does not suit the algorithm, or nothing can be written into the folder.
    """

    def __init__(
        self,
        algorithm: SearchAlgorithm,
        feasible: FeasibleSpace,
        folder: Path,
        seed: int,
        criterion: Criterion = "accuracy",
        recalibrate: int = 0,
        shifting: Shifting | None = None,
        truth: Mapping[Architecture, float] | None = None,
        progress: bool = True,
    ) -> None:
        self.algorithm = algorithm
        self.folder = folder
        self.criterion: Criterion = criterion
        self.recalibrate = recalibrate
        self.shifting = shifting
        self.truth = truth or {}
        self.progress = progress
        self.result: Result | None = None
        self._record: list[Evaluation] = []
        algorithm.begin(feasible, seed)
        self.settings = {
            "space": feasible.space.describe(),
            "algorithm": settings_of(algorithm),
            "limits": [_with_source(constraint) for constraint in feasible.constraints],
            "seed": seed,
            "score": criterion,
            "recalibrate": recalibrate,
            "shifting": None if shifting is None else dict(vars(shifting)),
        }
        require_writable(folder, folder)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Searches."""
        module = require_supernet(self, pl_module)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        self._partial = self._where_to_continue(trainer, module)
        # Lightning validates in inference mode, in which shifting could train nothing.
        with torch.inference_mode(False), torch.no_grad(), self._bar(trainer) as bar:
            scorer = self._scorer = self._new_scorer(trainer, module, data)
            try:
                self._record = run(
                    self.algorithm,
                    scorer,
                    self._partial,
                    keep=trainer.is_global_zero,
                    show=lambda record: self._show(bar, record),
                )
            except KeyboardInterrupt:
                sys.exit(
                    f"Interrupted: what is scored stands in {self._partial.path}; the same command continues"
                )
        # Whatever the algorithm saw, the last word is that of all images and of the final weights.
        self._top = self.algorithm.top(TOP)
        scorer.prepare(self._top)

    def _where_to_continue(self, trainer: Trainer, module: SupernetModule) -> PartialScores:
        data = trainer.datamodule  # type: ignore[attr-defined]
        self.settings |= {
            "weights": checkpoint.digest(module.supernet),
            "eval_batch_size": data.eval_batch_size,
            "number of batches": int(sum(trainer.num_val_batches)),
            "precision": trainer.precision,
        }
        if self.shifting is not None:
            self.settings |= {"batch_size": data.batch_size, "number of processes": trainer.world_size}
        self._require_same()
        return PartialScores(self.folder / "search.partial", self.settings)

    def _require_same(self) -> None:
        """Refuses to replace the results of another search."""
        file = self.folder / "search.json"
        if not file.is_file():
            return
        try:
            before = json.loads(file.read_text())["settings"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise NASError(f"{file} is no result of a search: choose another out") from error
        for key, value in self.settings.items():
            if before.get(key) != json.loads(json.dumps(value)):
                raise NASError(
                    f"{file} is the result of a search with {key} {before.get(key)}, but now {key} is {value}: choose "
                    "another out"
                )

    def _new_scorer(self, trainer: Trainer, module: SupernetModule, data: ImageDataModule) -> SupernetScorer:
        if self.shifting is None:
            return SupernetScorer(trainer, module, data, self.criterion, self.recalibrate)
        return ShiftingScorer(trainer, module, data, self.shifting, self.criterion, self.recalibrate)

    def _bar(self, trainer: Trainer) -> "tqdm[Any]":
        hidden = not self.progress or not trainer.is_global_zero
        return tqdm(total=self.algorithm.budget, desc="search", unit="path", disable=hidden)

    def _show(self, bar: "tqdm[Any]", record: Sequence[Evaluation]) -> None:
        best = max(record, key=lambda evaluation: evaluation.score)
        bar.update(len(record) - bar.n)
        bar.set_postfix_str(f"best {best.score:.4g} {self.algorithm.space.encode(best.path)}")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes what was found, with the scores that the validation gave the best paths."""
        assert isinstance(pl_module, SupernetModule)
        scores = self._scorer.found(pl_module.evaluator.scores())
        top = sorted(zip(self._top, scores, strict=True), key=lambda pair: -pair[1])
        measures = {constraint.name: constraint.value for constraint in self._measures}
        self.result = Result(
            self.algorithm.space,
            self._record,
            top,
            measures,
            self.truth,
            self.settings,
            LABELS[self.criterion],
        )
        if trainer.is_global_zero:
            self.result.write(self.folder)
            self._partial.remove()
            rank_zero_info(self._summary(self.result))

    @property
    def _measures(self) -> list[Constraint]:
        """What is limited beside what every result shows."""
        constraints = self.algorithm.feasible.constraints
        return [constraint for constraint in constraints if constraint.name not in ("params", "macs")]

    def _summary(self, result: Result) -> str:
        path, score = result.top[0]
        cost = result.space.cost(path)
        more = "".join(f", {one.name} {one.shown(one.value(path))}" for one in self._measures)
        known = f", ground truth {self.truth[path]:.2f} %" if path in self.truth else ""
        return (
            f"Best of {len(result.record)}: {result.space.encode(path)} ({LABELS[self.criterion]} {score:.4g}, "
            f"{cost.params:,} parameters, {cost.macs:,} multiply-adds{more}{known}). All is in {self.folder}"
        )


def _with_source(constraint: Constraint) -> str:
    return f"{constraint} ({constraint.source})" if constraint.source else str(constraint)
