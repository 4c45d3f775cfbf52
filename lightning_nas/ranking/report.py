"""All criteria of one score by name."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from lightning_nas.ranking import metrics
from lightning_nas.ranking.chunks import CHUNKS, chunk_sample
from lightning_nas.ranking.complexity import complexity_bias, complexity_bias_by_group
from lightning_nas.ranking.isomorphism import class_spread, post_deisomorphism, representatives
from lightning_nas.ranking.levels import kendall_tau_within_levels, sparse_kendall_tau
from lightning_nas.ranking.metrics import finite_vector, paired
from lightning_nas.ranking.mutation import MutationBias
from lightning_nas.ranking.pareto import pareto_gap

Key = TypeVar("Key")

PERCENTS = (1, 5, 10)
AT_PERCENT = {
    "p_at_top": metrics.precision_at_top,
    "p_at_bottom": metrics.precision_at_bottom,
    "br_at": metrics.best_rank,
    "wr_at": metrics.worst_rank,
    "best_acc_at": metrics.best_ground_truth,
    "worst_acc_at": metrics.worst_ground_truth,
    "tau_of_top": metrics.kendall_tau_of_top,
    "tau_of_bottom": metrics.kendall_tau_of_bottom,
}
PRUNED = (25, 50)
LEVEL = 1.0  # percent points of accuracy


def ranking_report(scores: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """Every criterion that needs nothing but scores and ground truth.

    Args:
        scores: One-shot scores, higher is better, shape (n,); NaN counts as the worst.
        truth: Ground truth in percent, shape (n,).

    Returns:
        ``n``, ``unscored`` (how many scores are NaN), correlations, criteria at 1, 5 and 10 percent, tau within the best
        25 and 50 percent, tau of chunk samples (400 chunks) and with levels of 1 percent point, and mean ground truth of
        the best-scored paths.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.
    """
    raw = np.asarray(scores, dtype=np.float64)
    scores, truth = paired(raw, truth)
    found: dict[str, float] = {
        "n": len(truth),
        "unscored": int(np.isnan(raw).sum()),
        "kendall_tau": metrics.kendall_tau(scores, truth),
        "kendall_tau_a": metrics.kendall_tau_a(scores, truth),
        "spearman": metrics.spearman(scores, truth),
        "pearson": metrics.pearson(scores, truth),
    }
    for name, criterion in AT_PERCENT.items():
        found |= {f"{name}_{percent}": criterion(scores, truth, percent) for percent in PERCENTS}
    found |= {
        f"tau_of_top_{percent}": metrics.kendall_tau_of_top(scores, truth, percent) for percent in PRUNED
    }
    found |= {f"top{k}_ground_truth": metrics.top_ground_truth(scores, truth, k) for k in (1, 5, 10)}
    for mode in ("equal_count", "equal_width"):
        sample = chunk_sample(truth, CHUNKS, mode)
        found[f"tau_chunks_{mode}"] = metrics.kendall_tau(scores[sample], truth[sample])
    found["tau_sparse"] = sparse_kendall_tau(scores, truth, LEVEL)
    found["tau_within_levels"] = kendall_tau_within_levels(scores, truth, LEVEL)
    return found


def complexity_report(
    scores: ArrayLike, truth: ArrayLike, complexity: ArrayLike, groups: int = 5
) -> dict[str, float]:
    """What the score does to large and small architectures.

    Args:
        scores: One-shot scores, higher is better, shape (n,); NaN counts as the worst.
        truth: Ground truth, shape (n,).
        complexity: Parameters or multiply-adds, shape (n,).
        groups: Number of complexity groups.

    Raises:
        NASError: The lengths differ, or a ground truth or complexity is not finite.
    """
    found = {
        "complexity_bias": complexity_bias(scores, truth, complexity),
        "complexity_bias_ties": complexity_bias(scores, truth, complexity, count_ties=True),
        "pareto_gap": pareto_gap(scores, truth, complexity),
    }
    for number, group in enumerate(complexity_bias_by_group(scores, truth, complexity, groups), start=1):
        found[f"rank_diff_group_{number}"] = group.rank_difference
        found[f"tau_group_{number}"] = group.kendall_tau
    return found


def isomorphism_report(
    scores: ArrayLike, truth: ArrayLike | None, keys: Sequence[Hashable]
) -> dict[str, float]:
    """How the score treats isomorphic paths, and its tau with one entry for each class of them.

    Args:
        scores: One-shot scores, higher is better, shape (n,); NaN counts as the worst.
        truth: Ground truth, shape (n,); None leaves out the taus.
        keys: The class of every path.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.
    """
    raw = np.asarray(scores, dtype=np.float64)
    ranks = np.empty(len(raw))
    ranks[metrics.ranking(np.where(np.isnan(raw), -np.inf, raw))] = np.arange(1, len(raw) + 1)
    spread = class_spread(raw, keys)
    found = {
        "iso_classes": spread.classes,
        "iso_classes_repeated": spread.repeated,
        "iso_spread": spread.within,
        "iso_spread_between": spread.between,
        "iso_rank_spread": class_spread(ranks / max(len(raw), 1), keys).within,
    }
    if truth is not None:
        truth, first = finite_vector("ground truth", truth), representatives(keys)
        found["tau_iso_first"] = metrics.kendall_tau(raw[first], truth[first])
        found["tau_iso_mean"] = metrics.kendall_tau(*post_deisomorphism(raw, truth, keys))
    return found


def plain_report(
    criteria: Mapping[str, Mapping[str, float]], biases: Mapping[str, MutationBias]
) -> dict[str, Any]:
    """A report in plain types, as JSON files hold it.

    Args:
        criteria: Those of every score.
        biases: The bias of operations of every score.

    Returns:
        ``criteria``, and ``mutations``, a list for every score; None stands for NaN.
    """
    return {
        "criteria": plain_criteria(criteria),
        "mutations": {score: _mutation_rows(bias) for score, bias in biases.items()},
    }


def plain_criteria(criteria: Mapping[Key, Mapping[str, float]]) -> dict[Key, dict[str, float | None]]:
    """Criteria of several things by name; None stands for NaN."""
    return {
        key: {name: _or_none(value) for name, value in values.items()} for key, values in criteria.items()
    }


def _mutation_rows(bias: MutationBias) -> list[dict[str, Any]]:
    numbers = ("truth_increase", "score_increase", "truth_ties", "score_ties", "bias")
    return [
        {"replaced": bias.names[row], "by": bias.names[column], "pairs": int(bias.pairs[row, column])}
        | {name: _or_none(float(getattr(bias, name)[row, column])) for name in numbers}
        for row, column in np.argwhere(bias.pairs).tolist()
    ]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
