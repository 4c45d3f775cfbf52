"""The dialogue between an algorithm and what scores its paths, which can be interrupted and continued."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.spaces import Path

ASKED = 100
"""Paths that an algorithm is asked for at a time. A part of what an interrupted search has settled."""

Answer = tuple[list[list[int]], list[float]]
"""Paths that an algorithm asked for at a time, and their scores."""

SAVE_EVERY = 10.0
"""Seconds between two records of a search."""


@dataclass(frozen=True)
class Evaluation:
    """One path that was scored.

    Attributes:
        path: The path.
        score: What it scored; higher is better.
        one_batch: Whether on one batch of images instead of all.
    """

    path: Path
    score: float
    one_batch: bool


class Scorer(Protocol):
    """What gives scores."""

    def score(self, paths: Sequence[Path], batch: int | None) -> Sequence[float]:
        """Scores of paths on all images, or on batch number ``batch`` alone, which goes on beyond the last."""

    def state(self) -> dict[str, Any]:
        """What a continuation needs beside the scores, as tensors and plain types."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from such a state."""


def run(
    algorithm: SearchAlgorithm,
    scorer: Scorer,
    partial: PartialScores | None = None,
    keep: bool = True,
    show: Callable[[Sequence[Evaluation]], None] = lambda _: None,
) -> list[Evaluation]:
    """Lets an algorithm search, from the beginning or from where it was interrupted.

    A record of paths and scores is all that is kept: told the same scores, the algorithm asks for the same paths.

    Args:
        algorithm: One that has begun.
        scorer: Gives the scores.
        partial: Where the record of an interrupted search is; None is nowhere.
        keep: Whether this process writes it.
        show: Is called with the record whenever it grows; never with an empty one.

    Returns:
        Everything that was scored, in that order.

    Raises:
        NASError: The record is damaged, or was begun with other settings.
    """
    kept = None if partial is None else partial.read()
    answers: list[Answer] = [] if kept is None else kept["answers"]
    record = _retold(algorithm, answers)
    if kept is not None:
        scorer.restore(kept["scorer"])
    if record:
        show(record)

    def save() -> None:
        if partial is not None and keep:
            partial.write({"answers": answers, "scorer": settled})

    # As it was after the last answer: an interrupt may come when the scorer has changed for half of the next.
    settled, saved = copy.deepcopy(scorer.state()), time.monotonic()
    save()
    while paths := algorithm.ask(ASKED):
        one_batch = algorithm.one_batch
        try:
            scores = scorer.score(paths, len(record) if one_batch else None)
        except KeyboardInterrupt:
            save()
            raise
        algorithm.tell(paths, scores)
        answers.append(([list(path) for path in paths], list(scores)))
        record += [Evaluation(path, score, one_batch) for path, score in zip(paths, scores, strict=True)]
        settled = copy.deepcopy(scorer.state())
        show(record)
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
    save()
    return record


def _retold(algorithm: SearchAlgorithm, answers: Sequence[Answer]) -> list[Evaluation]:
    """Tells an algorithm what it was told before.

    Raises:
        NASError: It asks for other paths now.
    """
    record: list[Evaluation] = []
    for before, scores in answers:
        one_batch, paths = algorithm.one_batch, algorithm.ask(ASKED)
        if paths != [tuple(path) for path in before]:
            raise NASError("the interrupted search asked for other paths: remove its record to search anew")
        algorithm.tell(paths, scores)
        record += [Evaluation(path, score, one_batch) for path, score in zip(paths, scores, strict=True)]
    return record
