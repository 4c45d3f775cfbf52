"""How well one-shot scores rank architectures: pure functions over one score and one ground truth per path.

Higher is better in both; a loss or another cost is negated by the caller. Ranks break ties by the lower
index, so every criterion is deterministic. A NaN score is a path that could not be scored: it counts as the
worst and is never dropped.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lightning_nas.errors import NASError

Floats = NDArray[np.float64]


def finite_vector(name: str, values: ArrayLike) -> Floats:
    """``values`` as floats, shape (n,).

    Args:
        name: What the values are, for the error message.
        values: Anything that numpy reads as a vector of numbers.

    Raises:
        NASError: The values are no vector, or one of them is NaN or infinite.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise NASError(f"{name} has shape {vector.shape}, but one number per path is needed: shape (n,).")
    wrong = np.flatnonzero(~np.isfinite(vector))
    if len(wrong):
        raise NASError(f"{name} of path {wrong[0]} is {vector[wrong[0]]}, but must be a finite number.")
    return vector


def paired(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Scores with NaN replaced by minus infinity, and finite ground truth, both of shape (n,).

    Raises:
        NASError: The lengths differ, or a ground truth is NaN or infinite.
    """
    truths = finite_vector("ground truth", truth)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != truths.shape:
        raise NASError(f"scores have shape {values.shape}, but ground truth has shape {truths.shape}.")
    return np.where(np.isnan(values), -np.inf, values), truths


def _incomparable(scores: Floats, truth: Floats) -> bool:
    """Whether a correlation is undefined: fewer than two paths, or one side constant."""
    return len(truth) < 2 or bool((scores == scores[0]).all() or (truth == truth[0]).all())


def kendall_tau(scores: ArrayLike, truth: ArrayLike) -> float:
    """Kendall's rank correlation in the tau-b form, which corrects for ties, from -1 to 1.

    Papers often print the formula of tau-a, but their released code calls the same scipy function.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).

    Returns:
        tau-b; NaN for fewer than two paths and where one side is constant.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.

    Example:
        >>> round(kendall_tau([0.9, 0.8, 0.85, 0.7, 0.75], [90, 91, 92, 93, 94]), 6)
        -0.6
    """
    scores, truth = paired(scores, truth)
    return math.nan if _incomparable(scores, truth) else float(stats.kendalltau(scores, truth).statistic)


def kendall_tau_a(scores: ArrayLike, truth: ArrayLike) -> float:
    """Kendall's rank correlation in the tau-a form: concordant minus discordant pairs, over all pairs.

    Tied pairs count in the denominator only, so that ties on either side keep it below 1. Arguments, NaN and
    errors as in :func:`kendall_tau`.

    Example:
        >>> round(kendall_tau_a([1, 1, 2], [1, 2, 3]), 4)
        0.6667
    """
    scores, truth = paired(scores, truth)
    if _incomparable(scores, truth):
        return math.nan
    n, m = len(truth), min(len(np.unique(scores)), len(np.unique(truth)))
    # scipy has no tau-a, but tau-c divides the same difference by another number.
    tau_c = stats.kendalltau(scores, truth, variant="c").statistic
    difference = round(tau_c * n**2 * (m - 1) / m / 2)
    return float(difference / (n * (n - 1) / 2))


def pearson(scores: ArrayLike, truth: ArrayLike) -> float:
    """Pearson's linear correlation, from -1 to 1. Arguments and errors as in :func:`kendall_tau`.

    Returns:
        The correlation; NaN also where a score is NaN or infinite, since "worst" has no value on a line.
    """
    scores, truth = paired(scores, truth)
    if _incomparable(scores, truth) or not np.isfinite(scores).all():
        return math.nan
    return float(stats.pearsonr(scores, truth).statistic)


def spearman(scores: ArrayLike, truth: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the average ranks. As :func:`kendall_tau` otherwise."""
    scores, truth = paired(scores, truth)
    return pearson(stats.rankdata(scores), stats.rankdata(truth))


def ranking(values: Floats) -> NDArray[np.intp]:
    """Indices from best to worst, ties by the lower index."""
    return np.argsort(-values, kind="stable")


def count_of(percent: float, n: int) -> int:
    """How many of n paths K percent are: rounded down, at least one."""
    if not 0 < percent <= 100:
        raise NASError(f"K is {percent}, but must be a percentage of the paths above 0 and up to 100.")
    # The fraction is the decimal number as written: in floats, 0.57 percent of 10,000 falls below 57.
    return max(1, math.floor(Fraction(str(percent)) * n / 100))


def _overlap(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    return len(np.intersect1d(a, b)) / len(a)


def precision_at_top(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """P@topK: the share of the K best-scored that are also among the K truly best, from 0 to 1.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).
        percent: K in percent of the paths, above 0 and up to 100; rounded down to at least one path.

    Returns:
        The share; NaN for fewer than two paths.

    Raises:
        NASError: The lengths differ, a ground truth is not finite, or K is out of its range.

    Example:
        >>> precision_at_top([0.9, 0.8, 0.1, 0.2], [93.0, 90.0, 91.0, 89.0], percent=50)
        0.5
    """
    scores, truth = paired(scores, truth)
    k = count_of(percent, len(truth))
    return math.nan if len(truth) < 2 else _overlap(ranking(scores)[:k], ranking(truth)[:k])


def precision_at_bottom(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """P@bottomK: as :func:`precision_at_top`, of the K worst."""
    scores, truth = paired(scores, truth)
    k = count_of(percent, len(truth))
    return math.nan if len(truth) < 2 else _overlap(ranking(scores)[-k:], ranking(truth)[-k:])


def _true_ranks_of_best_scored(scores: ArrayLike, truth: ArrayLike, percent: float) -> Floats:
    """Ranks in the ground truth, 1/n (best) to 1 (worst), of the K best-scored paths; NaN for n < 2."""
    scores, truth = paired(scores, truth)
    n, k = len(truth), count_of(percent, len(truth))
    if n < 2:
        return np.array([math.nan])
    ranks = np.empty(n)
    ranks[ranking(truth)] = np.arange(1, n + 1) / n
    return ranks[ranking(scores)[:k]]


def best_rank(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """BR@K: the best rank in the ground truth among the K best-scored, from 1/n (best) to 1; lower is better.

    Arguments, NaN and errors as in :func:`precision_at_top`.
    """
    return float(_true_ranks_of_best_scored(scores, truth, percent).min())


def worst_rank(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """WR@K: the worst rank in the ground truth among the K best-scored. As :func:`best_rank` otherwise."""
    return float(_true_ranks_of_best_scored(scores, truth, percent).max())


def top_ground_truth(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """Mean ground truth of the k best-scored paths: what a search that trusts the scores ends with.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,).
        k: How many paths, at least 1; all of them where there are fewer.

    Returns:
        The mean in the unit of the ground truth; NaN without paths.

    Raises:
        NASError: The lengths differ, a ground truth is not finite, or k is below 1.

    Example:
        >>> top_ground_truth([0.9, 0.8, 0.1], [93.0, 90.0, 91.0], k=2)
        91.5
    """
    if k < 1:
        raise NASError(f"k is {k}, but at least 1 path is needed.")
    scores, truth = paired(scores, truth)
    return float(truth[ranking(scores)[:k]].mean()) if len(truth) else math.nan


def best_ground_truth(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """BestAcc@K: the highest ground truth among the K best-scored. Otherwise as :func:`precision_at_top`."""
    scores, truth = paired(scores, truth)
    k = count_of(percent, len(truth))
    return float(truth[ranking(scores)[:k]].max()) if len(truth) > 1 else math.nan


def worst_ground_truth(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """WorstAcc@K: the lowest ground truth among the K best-scored. Otherwise as :func:`precision_at_top`."""
    scores, truth = paired(scores, truth)
    k = count_of(percent, len(truth))
    return float(truth[ranking(scores)[:k]].min()) if len(truth) > 1 else math.nan


def kendall_tau_of_top(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """tau-b among the K best-scored paths alone. Otherwise as :func:`precision_at_top`."""
    scores, truth = paired(scores, truth)
    top = ranking(scores)[: count_of(percent, len(truth))]
    return kendall_tau(scores[top], truth[top])


def kendall_tau_of_bottom(scores: ArrayLike, truth: ArrayLike, percent: float) -> float:
    """tau-b among the K worst-scored paths alone. Otherwise as :func:`precision_at_top`."""
    scores, truth = paired(scores, truth)
    bottom = ranking(scores)[-count_of(percent, len(truth)) :]
    return kendall_tau(scores[bottom], truth[bottom])


def mean_scores(scores: ArrayLike) -> Floats:
    """The mean score of every path over several supernets, which outranks a single one.

    Args:
        scores: Shape (supernets, n). A path that one supernet could not score is NaN in the mean: the worst.

    Raises:
        NASError: The shape is another.

    Example:
        >>> mean_scores([[50, 60], [52, 61]]).tolist()
        [51.0, 60.5]
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not len(table):
        raise NASError(
            f"scores have shape {table.shape}, but (supernets, paths) with one supernet or more is needed."
        )
    mean: Floats = table.mean(axis=0)
    return mean


def ranking_metrics(scores: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """All criteria under the names that logs and result files use; K is 5 percent of the paths.

    Args:
        scores: One-shot scores, shape (n,).
        truth: Ground truth, shape (n,), usually accuracies in percent.

    Returns:
        ``n`` (the number of paths), the correlations, the criteria at 5 percent, and the mean ground truth of
        the 1, 5 and 10 best-scored paths.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.
    """
    scores, truth = paired(scores, truth)
    return {
        "n": len(truth),
        "kendall_tau": kendall_tau(scores, truth),
        "spearman": spearman(scores, truth),
        "pearson": pearson(scores, truth),
        "p_at_top_5": precision_at_top(scores, truth, 5),
        "p_at_bottom_5": precision_at_bottom(scores, truth, 5),
        "br_at_5": best_rank(scores, truth, 5),
        "wr_at_5": worst_rank(scores, truth, 5),
        "top1_ground_truth": top_ground_truth(scores, truth, 1),
        "top5_ground_truth": top_ground_truth(scores, truth, 5),
        "top10_ground_truth": top_ground_truth(scores, truth, 10),
    }
