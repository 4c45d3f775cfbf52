"""Differences too small to matter: ground truth rounded to levels, and what a ranking says inside a level."""

import math

import numpy as np
from numpy.typing import ArrayLike

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import Floats, finite_vector, kendall_tau, paired


def levels(truth: ArrayLike, step: float) -> Floats:
    """Ground truth rounded to multiples of ``step``; halves to the even multiple.

    Args:
        truth: Ground truth, shape (n,).
        step: Width of a level, in the unit of the ground truth; above 0.

    Raises:
        NASError: The step is not above 0, or a ground truth is not finite.

    Example:
        >>> levels([93.12, 93.31, 90.9], step=0.5).tolist()
        [93.0, 93.5, 91.0]
    """
    if not 0 < step < math.inf:
        raise NASError(f"step is {step}, but a level is a width above 0 in the unit of the ground truth.")
    rounded: Floats = np.round(finite_vector("ground truth", truth) / step) * step
    return rounded


def sparse_kendall_tau(scores: ArrayLike, truth: ArrayLike, step: float) -> float:
    """Kendall's tau-b with the ground truth in levels: pairs inside a level are ties.

    Source: an option of the code of Ning et al., "Evaluating Efficient Performance Estimators of Neural
    Architectures" (2021). Arguments and errors as in :func:`levels` and
    :func:`~lightning_nas.ranking.metrics.kendall_tau`.

    Example:
        >>> sparse_kendall_tau([1, 2, 3, 4], [90.2, 90.1, 92.0, 93.0], step=1) > 0.9
        True
    """
    return kendall_tau(scores, levels(truth, step))


def kendall_tau_within_levels(scores: ArrayLike, truth: ArrayLike, step: float) -> float:
    """Kendall's tau-b among paths of nearly equal ground truth: does the score still order those?

    Arguments and errors as in :func:`sparse_kendall_tau`.

    Returns:
        The mean of tau-b over levels, each weighted by its number of pairs; levels in which it is undefined
        (one path, or one side constant) take no part. NaN where that leaves none.

    Example:
        >>> kendall_tau_within_levels([1, 2, 4, 3], [89.9, 90.1, 91.9, 92.1], step=1)
        0.0
    """
    scores, truth = paired(scores, truth)
    level = levels(truth, step)
    members = [level == value for value in np.unique(level)]
    taus = np.array([kendall_tau(scores[inside], truth[inside]) for inside in members])
    sizes = np.array([inside.sum() for inside in members])
    pairs = np.where(np.isnan(taus), 0, sizes * (sizes - 1) / 2)
    return float(np.nansum(taus * pairs) / pairs.sum()) if pairs.any() else math.nan
