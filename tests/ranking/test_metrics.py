import math
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_nas.errors import NASError
from lightning_nas.ranking import metrics
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.spaces import NASBench201

# Eight paths with one tie in the truth and one in the scores.
TRUTH_8 = [93.1, 91.0, 94.2, 90.5, 92.3, 88.0, 94.0, 91.0]
SCORES_8 = [0.62, 0.60, 0.66, 0.55, 0.66, 0.50, 0.64, 0.58]
TRUTH_5 = [90, 91, 92, 93, 94]
SCORES_5 = [0.9, 0.8, 0.85, 0.7, 0.75]

# CIFAR-10 accuracies of the 36 ResNet-20 pooling configurations, as published with "Balanced Mixture of
# SuperNets for Learning the CNN Pooling Architecture" (Javan et al., 2023): trained alone, and scored by a
# supernet with uniform single-path sampling.
# fmt: off
POOLING_TRUTH = [
    87.447, 87.690, 87.892, 88.602, 89.383, 90.127, 90.163, 89.406, 88.783, 89.025, 90.415, 90.568,
    90.892, 91.005, 90.217, 89.102, 89.702, 90.607, 90.922, 90.875, 90.140, 89.678, 90.342, 90.517,
    90.845, 89.705, 91.048, 90.957, 91.547, 89.840, 91.775, 91.830, 90.963, 92.012, 90.468, 89.992,
]
POOLING_SCORES = [
    76.43, 78.12, 79.62, 80.78, 80.42, 79.85, 79.37, 78.87, 79.77, 81.01, 82.85, 82.64,
    82.12, 82.16, 81.73, 80.24, 83.08, 82.98, 82.58, 82.22, 81.86, 83.64, 83.71, 83.11,
    83.18, 82.83, 82.35, 81.83, 82.29, 82.03, 79.78, 80.20, 79.61, 78.06, 77.49, 73.73,
]
# fmt: on


def slow_tau_b(scores: list[float], truth: list[float]) -> float:
    concordant = discordant = tied_scores = tied_truth = 0
    for i, j in combinations(range(len(truth)), 2):
        a, b = np.sign(scores[i] - scores[j]), np.sign(truth[i] - truth[j])
        concordant += a * b > 0
        discordant += a * b < 0
        tied_scores += a == 0 and b != 0
        tied_truth += b == 0 and a != 0
    decided = concordant + discordant
    product = (decided + tied_scores) * (decided + tied_truth)
    return float((concordant - discordant) / math.sqrt(product)) if product else math.nan


def slow_tau_a(scores: list[float], truth: list[float]) -> float:
    if len(set(scores)) < 2 or len(set(truth)) < 2:
        return math.nan
    pairs = list(combinations(range(len(truth)), 2))
    signs = [np.sign(scores[i] - scores[j]) * np.sign(truth[i] - truth[j]) for i, j in pairs]
    return float(sum(signs) / len(pairs))


def slow_pearson(a: list[float], b: list[float]) -> float:
    n = len(a)
    if n < 2:
        return math.nan
    covariance = sum((x - sum(a) / n) * (y - sum(b) / n) for x, y in zip(a, b, strict=True))
    product = math.prod(sum((x - sum(v) / n) ** 2 for x in v) for v in (a, b))
    return covariance / math.sqrt(product) if product else math.nan


def slow_average_ranks(values: list[float]) -> list[float]:
    return [sum(v < x for v in values) + sum(v == x for v in values) / 2 for x in values]


def slow_rank(values: list[float], i: int) -> int:
    """0-based, best first, ties by the lower index."""
    return sum(v > values[i] or (v == values[i] and j < i) for j, v in enumerate(values))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Scores and truth on coarse grids, so that ties are frequent."""
    n = draw(st.integers(2, 25))
    grid = st.lists(st.integers(0, draw(st.sampled_from([2, 5, 1000]))).map(float), min_size=n, max_size=n)
    return draw(grid), draw(grid)


@given(pairs())
def test_correlations_equal_their_definitions(pair: tuple[list[float], list[float]]) -> None:
    scores, truth = pair
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = (
            metrics.kendall_tau(scores, truth),
            metrics.spearman(scores, truth),
            metrics.pearson(scores, truth),
            metrics.kendall_tau_a(scores, truth),
        )
    ranks = slow_average_ranks(scores), slow_average_ranks(truth)
    expected = (
        slow_tau_b(scores, truth),
        slow_pearson(*ranks),
        slow_pearson(scores, truth),
        slow_tau_a(scores, truth),
    )
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(pairs(), st.integers(1, 100))
def test_set_criteria_equal_their_definitions(pair: tuple[list[float], list[float]], percent: int) -> None:
    scores, truth = pair
    n = len(truth)
    k = max(1, percent * n // 100)
    score_ranks, truth_ranks = ([slow_rank(values, i) for i in range(n)] for values in pair)
    top = [i for i in range(n) if score_ranks[i] < k]
    bottom = [i for i in range(n) if score_ranks[i] >= n - k]
    true_ranks = [(truth_ranks[i] + 1) / n for i in top]
    assert metrics.precision_at_top(scores, truth, percent) == sum(truth_ranks[i] < k for i in top) / k
    assert (
        metrics.precision_at_bottom(scores, truth, percent)
        == sum(truth_ranks[i] >= n - k for i in bottom) / k
    )
    assert metrics.best_rank(scores, truth, percent) == min(true_ranks)
    assert metrics.worst_rank(scores, truth, percent) == max(true_ranks)
    assert metrics.top_ground_truth(scores, truth, k) == pytest.approx(sum(truth[i] for i in top) / k)


def test_eight_paths_by_hand() -> None:
    assert metrics.kendall_tau(SCORES_8, TRUTH_8) == pytest.approx(0.814815, abs=1e-6)
    assert metrics.spearman(SCORES_8, TRUTH_8) == pytest.approx(0.891566, abs=1e-6)
    assert metrics.pearson(SCORES_8, TRUTH_8) == pytest.approx(0.921529, abs=1e-6)


@pytest.mark.parametrize(
    ("percent", "top", "bottom", "best", "worst"),
    [(25, 0.5, 1, 0.125, 0.5), (37.5, 2 / 3, 1, 0.125, 0.5), (50, 1, 1, 0.125, 0.5)],
)
def test_sets_of_eight_paths_by_hand(
    percent: float, top: float, bottom: float, best: float, worst: float
) -> None:
    assert metrics.precision_at_top(SCORES_8, TRUTH_8, percent) == top
    assert metrics.precision_at_bottom(SCORES_8, TRUTH_8, percent) == bottom
    assert metrics.best_rank(SCORES_8, TRUTH_8, percent) == best
    assert metrics.worst_rank(SCORES_8, TRUTH_8, percent) == worst


def test_tau_a_of_eight_paths_by_hand() -> None:
    # 24 concordant and 2 discordant of 28 pairs, the other two tied.
    assert metrics.kendall_tau_a(SCORES_8, TRUTH_8) == (24 - 2) / 28


def test_parameters_as_score_on_nasbench201(data_root: Path) -> None:
    space = NASBench201()
    table = TabularBenchmark.read(data_root / "benchmarks/nasbench201.csv")
    params = [space.cost(path).params for path in space]
    truth = {name: list(table.column(name).values()) for name in table.datasets}
    assert metrics.kendall_tau(params, truth["cifar10"]) == pytest.approx(0.57766, abs=5e-6)
    assert metrics.kendall_tau_a(params, truth["cifar10"]) == pytest.approx(0.55200, abs=5e-6)
    assert metrics.kendall_tau(params, truth["cifar100"]) == pytest.approx(0.5529, abs=5e-5)
    assert metrics.kendall_tau(params, truth["imagenet16_120"]) == pytest.approx(0.5199, abs=5e-5)
    spearmans = [metrics.spearman(params, values) for values in truth.values()]
    assert spearmans == pytest.approx([0.7522, 0.7273, 0.6910], abs=5e-5)


def test_best_and_worst_of_the_best_scored() -> None:
    # The four best scores are those of paths 2, 4, 6 and 0, and the four worst those of 1, 7, 3 and 5.
    assert metrics.best_ground_truth(SCORES_8, TRUTH_8, 50) == 94.2
    assert metrics.worst_ground_truth(SCORES_8, TRUTH_8, 50) == 92.3
    assert metrics.kendall_tau_of_top(SCORES_8, TRUTH_8, 50) == pytest.approx(0.182574, abs=1e-6)
    assert metrics.kendall_tau_of_bottom(SCORES_8, TRUTH_8, 50) == pytest.approx(0.912871, abs=1e-6)


def test_mean_over_supernets() -> None:
    found = metrics.mean_scores([[1.0, 5.0, math.nan], [3.0, 6.0, 7.0]])
    assert found.tolist()[:2] == [2, 5.5]
    assert math.isnan(found[2])
    with pytest.raises(NASError, match=r"scores have shape \(3,\)"):
        metrics.mean_scores(np.arange(3.0))


def test_five_paths_by_hand() -> None:
    assert metrics.kendall_tau(SCORES_5, TRUTH_5) == pytest.approx(-0.6)
    assert metrics.spearman(SCORES_5, TRUTH_5) == pytest.approx(-0.8)
    assert metrics.pearson(SCORES_5, TRUTH_5) == pytest.approx(-0.8)


def test_published_pooling_supernet() -> None:
    found = metrics.ranking_metrics(POOLING_SCORES, POOLING_TRUTH)
    assert found["kendall_tau"] == pytest.approx(0.1429, abs=5e-5)
    assert found["spearman"] == pytest.approx(0.2329, abs=5e-5)
    assert found["pearson"] == pytest.approx(0.3060, abs=5e-5)
    assert found["top1_ground_truth"] == POOLING_TRUTH[22]
    assert found["top5_ground_truth"] == pytest.approx(90.217, abs=5e-4)
    assert found["top10_ground_truth"] == pytest.approx(90.330, abs=5e-4)


def test_ranking_metrics_names_and_meaning() -> None:
    found = metrics.ranking_metrics(SCORES_8, TRUTH_8)
    assert found == {
        "n": 8,
        "kendall_tau": metrics.kendall_tau(SCORES_8, TRUTH_8),
        "spearman": metrics.spearman(SCORES_8, TRUTH_8),
        "pearson": metrics.pearson(SCORES_8, TRUTH_8),
        "p_at_top_5": 1.0,
        "p_at_bottom_5": 1.0,
        "br_at_5": 0.125,
        "wr_at_5": 0.125,
        "top1_ground_truth": 94.2,
        "top5_ground_truth": pytest.approx((94.2 + 92.3 + 94.0 + 93.1 + 91.0) / 5),
        "top10_ground_truth": pytest.approx(sum(TRUTH_8) / 8),
    }
    assert isinstance(found["n"], int)


def test_k_is_the_percentage_as_written() -> None:
    # In floats 0.57 * 10_000 / 100 is below 57.
    truth = np.arange(10_000.0)
    scores = np.where(truth == 10_000 - 57, 1e9, truth)
    assert metrics.precision_at_top(scores, truth, 0.57) == 1.0
    assert metrics.worst_rank(scores, truth, 0.57) == 57 / 10_000


def test_nan_counts_as_worst_and_stays() -> None:
    scores, worst = [0.3, math.nan, 0.1, 0.2], [0.3, -9.0, 0.1, 0.2]
    truth = [91.0, 94.0, 92.0, 93.0]
    found, expected = metrics.ranking_metrics(scores, truth), metrics.ranking_metrics(worst, truth)
    assert math.isnan(found.pop("pearson"))
    assert math.isfinite(expected.pop("pearson"))
    assert found == expected
    assert found["n"] == 4


@pytest.mark.parametrize("scores", [[0.5, 0.5, 0.5], [math.nan] * 3])
def test_constant_scores_have_no_correlation_but_ranks_by_index(scores: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.ranking_metrics(scores, [90.0, 92.0, 91.0])
    assert all(math.isnan(found[name]) for name in ("kendall_tau", "spearman", "pearson"))
    assert found["top1_ground_truth"] == 90.0
    assert found["br_at_5"] == 1.0


@pytest.mark.parametrize("truth", [[], [90.0]])
def test_too_few_paths_give_nan(truth: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.ranking_metrics([0.5] * len(truth), truth)
    assert found.pop("n") == len(truth)
    expected = truth[0] if truth else math.nan
    for name, value in found.items():
        assert value == pytest.approx(expected if name.startswith("top") else math.nan, nan_ok=True)


@pytest.mark.parametrize("name", ["kendall_tau", "kendall_tau_a", "spearman", "pearson", "ranking_metrics"])
def test_wrong_vectors_are_refused(name: str) -> None:
    metric = getattr(metrics, name)
    with pytest.raises(NASError, match=r"scores have shape \(3,\), but ground truth has shape \(2,\)"):
        metric([1, 2, 3], [1, 2])
    with pytest.raises(NASError, match="ground truth of path 1 is nan"):
        metric([1, 2], [1, math.nan])
    with pytest.raises(NASError, match=r"ground truth has shape \(1, 2\)"):
        metric([[1, 2]], [[1, 2]])


@pytest.mark.parametrize("percent", [0, -1, 101, math.nan])
def test_k_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(NASError, match=f"K is {percent}"):
        metrics.precision_at_top([1, 2], [1, 2], percent)
    with pytest.raises(NASError, match="k is 0"):
        metrics.top_ground_truth([1, 2], [1, 2], 0)
