"""Dividing the choices of a decision into groups that are little alike: exhaustive minimum cut."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Groups = tuple[tuple[int, ...], ...]
"""Positions of the things that are divided, in ascending order within a group."""

MOST = 16
"""Things that are divided at most: of these there are 32,767 ways to make two groups."""


class Cut(NamedTuple):
    """Two groups.

    Attributes:
        part: The smaller one; of equally large ones the one that was found first.
        rest: The other.
        cost: Sum of the similarities between the two.
    """

    part: tuple[int, ...]
    rest: tuple[int, ...]
    cost: float


def min_cut(
    similarity: NDArray[np.float64], members: Sequence[int] | None = None, balanced: bool = False
) -> Cut:
    """The two groups between which the similarities add up to the least (Hu et al., GM-NAS, ICLR 2022, Eq. 3).

    All ways are tried, small groups first and in lexicographic order, and the first of equally good ones is taken. So
    things of which nothing is known to differ are divided into the first and the rest.

    Args:
        similarity: Of every two things, symmetric, shape (n, n); the diagonal does not matter.
        members: Positions of those that are divided, at least 2; None divides all.
        balanced: Whether one group must have as many members as the other, or one less.
    """
    members = range(len(similarity)) if members is None else members
    cuts = (_cut(similarity, part, members) for part in _parts(members, balanced))
    best = next(cuts)
    for cut in cuts:
        if cut.cost < best.cost:
            best = cut
    return best


def partition(similarity: NDArray[np.float64], number: int, balanced: bool = False) -> Groups:
    """Groups that are little alike: the largest of them is cut in two until there are enough.

    Args:
        similarity: Of every two things, symmetric, shape (n, n).
        number: Of groups; n, where there are no more things.
        balanced: Whether a group is cut in equal halves.

    Example:
        >>> partition(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), 2)
        ((2,), (0, 1))
    """
    groups: list[tuple[int, ...]] = [tuple(range(len(similarity)))]
    while len(groups) < min(number, len(similarity)):
        largest = max(range(len(groups)), key=lambda i: len(groups[i]))
        cut = min_cut(similarity, groups[largest], balanced)
        groups[largest : largest + 1] = [cut.part, cut.rest]
    return tuple(groups)


def between(matrix: NDArray[np.float64], groups: Groups) -> float:
    """The sum of the entries of a symmetric matrix between things of different groups, each pair once."""
    pairs = itertools.combinations(groups, 2)
    return math.fsum(matrix[i, j] for one, other in pairs for i in one for j in other)


def _parts(members: Sequence[int], balanced: bool) -> Iterator[tuple[int, ...]]:
    largest = len(members) // 2
    for size in range(largest if balanced else 1, largest + 1):
        yield from itertools.combinations(members, size)


def _cut(similarity: NDArray[np.float64], part: tuple[int, ...], members: Sequence[int]) -> Cut:
    rest = tuple(i for i in members if i not in part)
    # Rounded once: cuts that are equally good stay so, whatever the order in which they are added up.
    return Cut(part, rest, math.fsum(similarity[np.ix_(part, rest)].flat))
