"""Scoring many paths on the same batches, without doing the same work twice."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_nas.errors import NASError
from lightning_nas.evaluation.partial import PartialScores
from lightning_nas.evaluation.recalibration import Calibration
from lightning_nas.evaluation.scores import PathScores, Scores
from lightning_nas.spaces import Path, Supernet

Output = tuple[int, Tensor]
"""The position of a path, and its logits (N x classes)."""

SAVE_EVERY = 60.0
"""Seconds between two records of what is scored."""


def shares(costs: Sequence[int], processes: int) -> list[range]:
    """Cuts a sequence of paths into one stretch per process, of about equal cost.

    Stretches, because neighbours in the order of the space share the beginnings of their networks.

    Args:
        costs: Cost of every path, at least 1.
        processes: Number of stretches; some are empty where there are fewer paths.

    Example:
        >>> shares([1, 1, 1, 3], 2)
        [range(0, 3), range(3, 4)]
    """
    total, spent, owner = sum(costs), 0, []
    for cost in costs:
        # The process in whose equal share of the total the middle of the path falls.
        owner.append(int((spent + cost / 2) * processes // total))
        spent += cost
    counts = [owner.count(process) for process in range(processes)]
    ends = [sum(counts[: process + 1]) for process in range(processes)]
    return [range(end - count, end) for end, count in zip(ends, counts, strict=True)]


class PathEvaluator:
    """Scores paths batch by batch; several processes score a share of the paths each.

    Common beginnings of paths, and paths of one functional key, run once per batch. With a calibration every
    path has batch-norm statistics of its own, and runs alone.

    Args:
        supernet: Whose paths are scored.
        paths: Which.
        rank: Number of this process.
        processes: How many there are.
        calibration: Images on which every path's batch-norm statistics are measured; None leaves them alone.
        partial: Where what is scored is kept for a continuation; None keeps nothing.

    Raises:
        NASError: What was kept belongs to a scoring with other settings.
    """

    def __init__(
        self,
        supernet: Supernet,
        paths: Sequence[Path],
        rank: int = 0,
        processes: int = 1,
        calibration: Calibration | None = None,
        partial: PartialScores | None = None,
    ) -> None:
        self.supernet = supernet
        self.paths = tuple(paths)
        self.metric = PathScores(len(paths)).to(next(supernet.parameters()).device)
        self.share = shares([max(1, supernet.space.cost(path).macs) for path in paths], processes)[rank]
        self._calibration = calibration
        self._partial = partial
        self._batches = 0
        self._scored: set[int] = set()
        self._sums_after: dict[int, dict[str, Tensor]] = {}
        self._adding: tuple[int, Tensor, Tensor] | None = None
        self._saved = time.monotonic()
        if partial is not None and (kept := partial.read()) is not None:
            self._batches, self._scored = kept["batches"], set(kept["scored"])
            self._sums_after = kept.get("sums_after", {})
            self.metric.restore(kept["sums"])

    def update(
        self,
        images: Tensor,
        labels: Tensor,
        batch: int,
        track: Callable[[Iterable[Output], int], Iterable[Output]] = lambda outputs, _: outputs,
    ) -> None:
        """Scores this process's paths on batch number ``batch``, except those that were before an interruption.

        Args:
            images: Normalised images (N x C x H x W).
            labels: Their classes (N,).
            batch: Its number, from 0; batches come in order.
            track: Shows the progress of an iterator of the given length.
        """
        if batch < self._batches:
            return
        todo = [position for position in self.share if position not in self._scored]
        try:
            self.metric.update(track(self._outputs(images, todo), len(todo)), labels)
        except KeyboardInterrupt:
            if self._adding is not None:  # a path that is half added
                position, loss, hits = self._adding
                self.metric.loss[position], self.metric.hits[position] = loss, hits
            self._save()
            raise
        self._batches, self._scored = batch + 1, set()
        if self._batches & batch == 0:  # 1, 2, 4, ...
            self._sums_after[self._batches] = {
                name: sum_.clone() for name, sum_ in self.metric.sums().items()
            }

    def _outputs(self, images: Tensor, positions: list[int]) -> Iterator[Output]:
        """Positions and logits; what is scored is recorded when the next one is asked for."""
        for position, logits in self._logits(images, positions):
            self._adding = position, self.metric.loss[position].clone(), self.metric.hits[position].clone()
            yield position, logits
            self._scored.add(position)
            self._adding = None
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()

    def _logits(self, images: Tensor, positions: list[int]) -> Iterator[Output]:
        paths = [self.paths[position] for position in positions]
        if self._calibration is None:
            for i, logits in self.supernet.forward_each(images, paths):
                yield positions[i], logits
            return
        for position, path in zip(positions, paths, strict=True):
            with self._calibration.of(path):
                logits = self.supernet(images, path)
            yield position, logits

    def _save(self) -> None:
        if self._partial is not None:
            scored = sorted(self._scored)
            sums = {"sums": self.metric.sums(), "sums_after": self._sums_after}
            self._partial.write({"batches": self._batches, "scored": scored, **sums})
        self._saved = time.monotonic()

    def scores(self) -> Scores:
        """Accuracy and mean loss of all paths, those of other processes included.

        Raises:
            NASError: The loss of a path is not finite.
        """
        scores = self.metric.scores()
        wrong = (~torch.isfinite(torch.from_numpy(scores.loss))).nonzero()
        if len(wrong):
            path = self.paths[int(wrong[0])]
            raise NASError(
                f"the logits of path {self.supernet.space.encode(path)} are not finite ({len(wrong)} of "
                f"{len(self.paths)} paths): the supernet diverged, or its running statistics do not fit the path "
                "(ranking.recalibrate)"
            )
        return scores

    def scores_after(self) -> dict[int, Scores]:
        """What the first 1, 2, 4, ... batches alone said of all paths, and all batches, by their number."""
        found = {}
        for batches, sums in self._sums_after.items():
            metric = PathScores(len(self.paths)).to(self.metric.device)
            metric.restore(sums)
            found[batches] = metric.scores()
        return found | {self._batches: self.scores()}

    def finish(self) -> None:
        """Forgets what was kept for a continuation."""
        if self._partial is not None:
            self._partial.remove()
