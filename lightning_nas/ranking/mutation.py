"""Which operations a supernet overrates: does one that replaces another raise the score as often as it should?

Source: Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021), Sec. 5.1 and
App. A.2.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import paired
from lightning_nas.spaces import Path as Architecture

Labels = Sequence[Sequence[str] | None]
"""For every decision the names of its choices, or None where it is no choice of an operation."""


@dataclass(frozen=True)
class Mutations:
    """All pairs of paths that differ in exactly one decision, each once.

    Attributes:
        names: Names of the choices, in the order in which decisions have them.
        before: Choice of the first path of every pair by its position in ``names``, shape (pairs,).
        after: Choice of the second path.
        first: Index of the first path.
        second: Index of the second path.
    """

    names: tuple[str, ...]
    before: NDArray[np.intp]
    after: NDArray[np.intp]
    first: NDArray[np.intp]
    second: NDArray[np.intp]

    def within(self, paths: ArrayLike) -> "Mutations":
        """The pairs of which both paths are among the given ones, such as those of a complexity group."""
        inside = np.isin(self.first, paths) & np.isin(self.second, paths)
        return Mutations(
            self.names, self.before[inside], self.after[inside], self.first[inside], self.second[inside]
        )


@dataclass(frozen=True)
class MutationBias:
    """What replacing the choice of a row by the choice of a column does; NaN where no pair shows it.

    Attributes:
        names: Names of the choices, m of them.
        pairs: Number of pairs, shape (m, m).
        truth_increase: Share of the pairs with strictly higher ground truth afterwards, shape (m, m).
        score_increase: The same of the score.
        truth_ties: Share of the pairs with equal ground truth.
        score_ties: The same of the score.
    """

    names: tuple[str, ...]
    pairs: NDArray[np.intp]
    truth_increase: NDArray[np.float64]
    score_increase: NDArray[np.float64]
    truth_ties: NDArray[np.float64]
    score_ties: NDArray[np.float64]

    @property
    def bias(self) -> NDArray[np.float64]:
        """Increases of the score minus those of the truth. Positive in a whole column: its choice is overrated."""
        difference: NDArray[np.float64] = self.score_increase - self.truth_increase
        return difference


def mutations(paths: Sequence[Architecture], labels: Labels) -> Mutations:
    """Finds all pairs of paths that differ in exactly one decision.

    Args:
        paths: Different paths of one space, n of them.
        labels: Names of the choices of every decision.

    Raises:
        NASError: A path stands twice, or has another number of decisions than there are labels.

    Example:
        >>> found = mutations([(0, 0), (0, 1), (1, 0)], labels=["AB", "AB"])
        >>> list(zip(found.first.tolist(), found.second.tolist()))
        [(0, 2), (0, 1)]
    """
    if wrong := [path for path in paths if len(path) != len(labels)]:
        raise NASError(
            f"path {wrong[0]} has {len(wrong[0])} decisions, but there are labels for {len(labels)}."
        )
    if len(set(paths)) < len(paths):
        raise NASError("a path stands twice among those that are compared, but must have one score.")
    names = tuple(dict.fromkeys(name for choices in labels if choices for name in choices))
    table = np.array(paths, dtype=np.intp).reshape(len(paths), len(labels))
    parts = [
        _of_decision(table, decision, np.array([names.index(name) for name in choices], dtype=np.intp))
        for decision, choices in enumerate(labels)
        if choices
    ]
    empty = np.empty((4, 0), dtype=np.intp)
    before, after, first, second = np.concatenate([empty, *parts], axis=1)
    return Mutations(names, before, after, first, second)


def mutation_bias(scores: ArrayLike, truth: ArrayLike, found: Mutations) -> MutationBias:
    """How often each replacement raises the score and the ground truth.

    Args:
        scores: One-shot scores, higher is better (a loss is negated), shape (n,).
        truth: Ground truth, shape (n,).
        found: Pairs of these n paths.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.
    """
    scores, truth = paired(scores, truth)
    pairs = _count(found, np.ones(len(found.first), dtype=bool))
    total = np.where(pairs, pairs, np.nan)
    shares = {}
    for name, values in (("truth", truth), ("score", scores)):
        before, after = values[found.first], values[found.second]
        # A pair is read in both directions: an increase one way is a decrease the other way.
        up, down = (_one_way(found, change) for change in (after > before, after < before))
        shares[name + "_increase"] = (up + down.T) / total
        shares[name + "_ties"] = _count(found, after == before) / total
    return MutationBias(names=found.names, pairs=pairs, **shares)


def _of_decision(table: NDArray[np.intp], decision: int, positions: NDArray[np.intp]) -> NDArray[np.intp]:
    """Before, after, first and second of the pairs that differ in this decision only, shape (4, pairs)."""
    others = np.delete(table, decision, axis=1)
    order = np.lexsort((table[:, decision], *others.T))
    # Paths that agree in all other decisions are neighbours in this order.
    starts = np.append(True, (others[order][1:] != others[order][:-1]).any(axis=1))
    group = np.cumsum(starts)
    pairs = []
    for distance in range(1, len(positions)):
        alike = np.flatnonzero(group[distance:] == group[:-distance])
        pairs.append(np.stack([order[alike], order[alike + distance]]))
    first, second = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.intp)
    return np.stack([positions[table[first, decision]], positions[table[second, decision]], first, second])


def _one_way(found: Mutations, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the chosen pairs by choice before and after, shape (m, m)."""
    m = len(found.names)
    cells = found.before[chosen] * m + found.after[chosen]
    return np.bincount(cells, minlength=m * m).reshape(m, m)


def _count(found: Mutations, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the chosen pairs in both directions."""
    counts = _one_way(found, chosen)
    return counts + counts.T
