"""Does the supernet underrate large architectures? Complexity is the number of parameters or multiply-adds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import Floats, finite_vector, kendall_tau, paired, ranking

BLOCK = 256  # rows of the table of pairs that are in memory at a time


@dataclass(frozen=True)
class ComplexityGroup:
    """What a ranking does to the architectures of similar complexity.

    Attributes:
        paths: Their indices, by complexity.
        lowest: Complexity of the smallest.
        highest: Complexity of the largest.
        rank_difference: Mean of rank in the ground truth minus rank by score. Positive: overrated.
        kendall_tau: tau-b inside the group; NaN where it is undefined.
    """

    paths: NDArray[np.intp]
    lowest: float
    highest: float
    rank_difference: float
    kendall_tau: float


def rank_difference(scores: ArrayLike, truth: ArrayLike) -> NDArray[np.intp]:
    """Rank in the ground truth minus rank by score; ties by the lower index, as in all criteria on sets.

    :func:`lightning_nas.ranking.bias.rank_error` is the same with average ranks for ties.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).

    Returns:
        Shape (n,), with sum 0. Positive: the score overrates the path.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.

    Example:
        >>> rank_difference([0.1, 0.3, 0.2], [93.0, 92.0, 91.0]).tolist()
        [-2, 1, 1]
    """
    scores, truth = paired(scores, truth)
    return _ranks(truth) - _ranks(scores)


def complexity_groups(complexity: ArrayLike, groups: int = 5) -> list[NDArray[np.intp]]:
    """Indices of the paths in groups of equally many, from the smallest to the largest; ties by index.

    Args:
        complexity: Parameters, multiply-adds or the like, shape (n,).
        groups: Number of groups, at least 1; the first ones have one path more where n is no multiple.

    Returns:
        The groups that have a path.

    Raises:
        NASError: Less than one group, or a complexity that is not finite.
    """
    values = finite_vector("complexity", complexity)
    if groups < 1:
        raise NASError(f"groups is {groups}, but at least 1 is needed.")
    parts = np.array_split(np.argsort(values, kind="stable"), groups)
    return [part for part in parts if len(part)]


def complexity_bias_by_group(
    scores: ArrayLike, truth: ArrayLike, complexity: ArrayLike, groups: int = 5
) -> list[ComplexityGroup]:
    """Rank difference and tau inside groups of similar complexity.

    Source: Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021), Sec. 5.1.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).
        complexity: Parameters, multiply-adds or the like, shape (n,).
        groups: Number of groups of equally many paths.

    Raises:
        NASError: The lengths differ, a ground truth or complexity is not finite, or less than one group.

    Example:
        >>> small, large = complexity_bias_by_group([4, 3, 1, 2], [90, 91, 92, 93], [1, 2, 3, 4], groups=2)
        >>> small.rank_difference, large.rank_difference, small.kendall_tau
        (2.0, -2.0, -1.0)
    """
    scores, truth = paired(scores, truth)
    sizes = _matching("complexity", complexity, truth)
    difference = rank_difference(scores, truth)
    return [
        ComplexityGroup(
            paths=paths,
            lowest=float(sizes[paths[0]]),
            highest=float(sizes[paths[-1]]),
            rank_difference=float(difference[paths].mean()),
            kendall_tau=kendall_tau(scores[paths], truth[paths]),
        )
        for paths in complexity_groups(sizes, groups)
    ]


def complexity_bias(
    scores: ArrayLike, truth: ArrayLike, complexity: ArrayLike, count_ties: bool = False
) -> float:
    """CB: in how many of the misranked pairs is the architecture that is scored lower the larger one?

    Source: Jeon et al., "Subnet-Aware Dynamic Supernet Training for Neural Architecture Search" (2025), Eq. 9.
    Pairs tied in score or ground truth are not misranked.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).
        complexity: Parameters, multiply-adds or the like, shape (n,).
        count_ties: Whether misranked pairs of equal complexity stay in the denominator, which moves the unbiased
            value below 0.5.

    Returns:
        The share, from 0 to 1: 0.5 is unbiased, more means that large architectures are underrated. NaN where
        no pair counts.

    Raises:
        NASError: The lengths differ, or a ground truth or complexity is not finite.

    Example:
        >>> complexity_bias([0.9, 0.8, 0.85], [90, 91, 92], [1, 2, 3])
        1.0
    """
    scores, truth = paired(scores, truth)
    score, true, size = map(_order, (scores, truth, _matching("complexity", complexity, truth)))
    misranked = larger = equal = 0
    for start in range(0, len(true), BLOCK):
        rows = np.s_[start : start + BLOCK, None]
        wrong = (score[rows] > score) & (true[rows] < true)
        misranked += int(np.count_nonzero(wrong))
        larger += int(np.count_nonzero(wrong & (size[rows] < size)))
        equal += int(np.count_nonzero(wrong & (size[rows] == size)))
    pairs = misranked if count_ties else misranked - equal
    return larger / pairs if pairs else math.nan


def convergence_correlation(
    scores: ArrayLike, truth: ArrayLike, complexity: ArrayLike, above: float = 0
) -> float:
    """Complexity-convergence correlation: tau-b of complexity with score / ground truth.

    The quotient says how far a path has been trained. Source: Jeon et al. (see :func:`complexity_bias`), Eq. 10.
    Paths that learn nothing have a quotient near 1 and are small, and so hide a bias: ``above`` leaves them out.

    Args:
        scores: One-shot accuracies, shape (n,).
        truth: Stand-alone accuracies in the same unit, shape (n,).
        complexity: Parameters, multiply-adds or the like, shape (n,).
        above: Only paths whose ground truth is higher, at least 0: such as the accuracy of guessing.

    Returns:
        From -1 to 1: 0 is unbiased, negative means that large architectures are trained less far. NaN where
        tau-b is undefined.

    Raises:
        NASError: The lengths differ, a ground truth or complexity is not finite, or ``above`` is negative.

    Example:
        >>> convergence_correlation([45, 40, 30], [90, 90, 90], [1, 2, 3])
        -1.0
    """
    if not above >= 0:
        raise NASError(f"above is {above}, but must be an accuracy of 0 or more.")
    scores, truth = paired(scores, truth)
    sizes = _matching("complexity", complexity, truth)
    used = truth > above
    return kendall_tau(scores[used] / truth[used], sizes[used])


def _ranks(values: Floats) -> NDArray[np.intp]:
    """Ranks from 1 (best); ties by the lower index."""
    ranks = np.empty(len(values), dtype=np.intp)
    ranks[ranking(values)] = np.arange(1, len(values) + 1)
    return ranks


def _order(values: Floats) -> NDArray[np.int32]:
    """Small whole numbers in the same order, which compare faster; equal where the values are."""
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


def _matching(name: str, values: ArrayLike, truth: Floats) -> Floats:
    vector = finite_vector(name, values)
    if len(vector) != len(truth):
        raise NASError(f"{name} has {len(vector)} values, but there are {len(truth)} paths.")
    return vector
