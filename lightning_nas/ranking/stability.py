"""How much a ranking still changes from one checkpoint to the next."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import Floats, kendall_tau, precision_at_bottom, precision_at_top


def stability(earlier: ArrayLike, later: ArrayLike, percent: float = 5) -> dict[str, float]:
    """The criteria with the later scores in place of the ground truth.

    Source: Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021), Sec. 5.3.

    Args:
        earlier: Scores at one checkpoint, shape (n,); NaN counts as the worst.
        later: Scores of the same paths at another checkpoint; NaN counts as the worst.
        percent: K of the criteria on sets.

    Returns:
        ``rel_kendall_tau``, ``rel_p_at_top`` and ``rel_p_at_bottom``; NaN as in the criteria themselves.

    Raises:
        NASError: The lengths differ, or K is out of its range.

    Example:
        >>> stability([3, 2, 1, 0], [3, 2, 0, 1], percent=50)["rel_p_at_top"]
        1.0
    """
    truth = _without_nan(later)
    return {
        "rel_kendall_tau": kendall_tau(earlier, truth),
        "rel_p_at_top": precision_at_top(earlier, truth, percent),
        "rel_p_at_bottom": precision_at_bottom(earlier, truth, percent),
    }


def forgetting(after_own_update: ArrayLike, after_epoch: ArrayLike) -> Floats:
    """What every path trained in an epoch loses until its end: negative where others overwrite its weights.

    Args:
        after_own_update: Accuracy of every path right after the step that trained it, shape (n,).
        after_epoch: Accuracy of the same paths at the end of the epoch, shape (n,).

    Returns:
        The second minus the first, shape (n,).

    Raises:
        NASError: The shapes differ.
    """
    before = np.asarray(after_own_update, dtype=np.float64)
    after = np.asarray(after_epoch, dtype=np.float64)
    if before.shape != after.shape:
        raise NASError(
            f"accuracies have shapes {before.shape} and {after.shape}, but must be of the same paths."
        )
    change: Floats = after - before
    return change


def _without_nan(scores: ArrayLike) -> NDArray[np.intp]:
    """Whole numbers in the order of the scores, NaN being the lowest: the criteria above heed only the order."""
    values = np.asarray(scores, dtype=np.float64)
    return np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True)[1]
