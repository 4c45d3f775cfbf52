"""What a search under a budget loses by trusting the scores."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import finite_vector, paired


def pareto_front(values: ArrayLike, complexity: ArrayLike) -> NDArray[np.intp]:
    """The paths that no other one beats: none is as small or smaller and has a higher value.

    Args:
        values: Scores or ground truth, higher is better, shape (n,); NaN counts as the worst.
        complexity: Parameters, multiply-adds or the like, shape (n,).

    Returns:
        Indices from the smallest path to the largest, with values that increase strictly. Of paths with equal
        value only the smallest is on the front, and of equal ones the first.

    Raises:
        NASError: The lengths differ, or a complexity is not finite.

    Example:
        >>> pareto_front([90, 92, 91, 93], complexity=[1, 2, 3, 4]).tolist()
        [0, 1, 3]
    """
    sizes = finite_vector("complexity", complexity)
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != sizes.shape:
        raise NASError(f"values have shape {vector.shape}, but complexity has shape {sizes.shape}.")
    vector = np.where(np.isnan(vector), -np.inf, vector)
    order = np.lexsort((-vector, sizes))  # stable: equal paths stay in the order of their indices
    best_before = np.concatenate(([-np.inf], np.maximum.accumulate(vector[order])[:-1]))
    better = vector[order] > best_before
    better[:1] = True  # the smallest path is on the front even if it could not be scored
    return order[better]


def pareto_fronts(values: ArrayLike, complexity: ArrayLike) -> Iterator[NDArray[np.intp]]:
    """The front of all paths, then the front of those that are left, and so on; every path is on one of them.

    Arguments and errors as in :func:`pareto_front`.

    Example:
        >>> [front.tolist() for front in pareto_fronts([90, 92, 91, 93], complexity=[1, 2, 3, 4])]
        [[0, 1, 3], [2]]
    """
    vector, sizes = np.asarray(values, dtype=np.float64), np.asarray(complexity, dtype=np.float64)
    left = np.arange(len(vector))
    while len(left):
        front = left[pareto_front(vector[left], sizes[left])]
        yield front
        left = np.setdiff1d(left, front)


def pareto_gap(scores: ArrayLike, truth: ArrayLike, complexity: ArrayLike) -> float:
    """How far the front found by score lies below the true one: the mean loss over all budgets that matter.

    The budgets are the complexities of the true front. Within each, a search takes the best-scored path, and
    loses its distance in ground truth to the truly best path. Ning et al., "Evaluating Efficient Performance
    Estimators of Neural Architectures" (2021), App. A.2.1, draw both fronts and this distance, but define no
    single number.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).
        complexity: Parameters, multiply-adds or the like, shape (n,).

    Returns:
        The mean, 0 or more, in the unit of the ground truth; NaN for fewer than two paths.

    Raises:
        NASError: The lengths differ, or a ground truth or complexity is not finite.

    Example:
        >>> pareto_gap([1, 3, 2], [90, 91, 93], complexity=[1, 2, 3])
        0.6666666666666666
    """
    scores, truth = paired(scores, truth)
    sizes = finite_vector("complexity", complexity)
    true, found = pareto_front(truth, sizes), pareto_front(scores, sizes)
    if len(truth) < 2:
        return math.nan
    taken = found[np.searchsorted(sizes[found], sizes[true], side="right") - 1]
    return float((truth[true] - truth[taken]).mean())
