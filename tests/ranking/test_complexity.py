import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_examples import COMPLEXITY, SCORES, SCORES_5, TRUTH, TRUTH_5

from lightning_nas.errors import NASError
from lightning_nas.ranking import complexity as module
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.complexity import (
    complexity_bias,
    complexity_bias_by_group,
    complexity_groups,
    convergence_correlation,
    rank_difference,
)
from lightning_nas.spaces import NASBench201

GRID = st.integers(0, 6).map(float)


def slow_bias(scores: list[float], truth: list[float], size: list[float], count_ties: bool) -> float:
    misranked = [
        (i, j) if scores[i] < scores[j] else (j, i)
        for i, j in combinations(range(len(truth)), 2)
        if (scores[i] - scores[j]) * (truth[i] - truth[j]) < 0
    ]
    counted = [(low, high) for low, high in misranked if count_ties or size[low] != size[high]]
    larger = sum(size[low] > size[high] for low, high in counted)
    return larger / len(counted) if counted else math.nan


@given(st.lists(st.tuples(GRID, GRID, GRID), max_size=30), st.booleans())
def test_bias_equals_its_definition(paths: list[tuple[float, float, float]], count_ties: bool) -> None:
    scores, truth, size = ([path[i] for path in paths] for i in range(3))
    found = complexity_bias(scores, truth, size, count_ties)
    assert found == pytest.approx(slow_bias(scores, truth, size, count_ties), nan_ok=True)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth, size = np.random.default_rng(0).integers(0, 9, (3, 100)).astype(float).tolist()
    whole = complexity_bias(scores, truth, size)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert complexity_bias(scores, truth, size) == whole == slow_bias(scores, truth, size, count_ties=False)


def test_bias_by_hand() -> None:
    assert complexity_bias(SCORES, TRUTH, COMPLEXITY) == 0.5
    assert complexity_bias(SCORES_5, TRUTH_5, [1, 2, 3, 4, 5]) == 1
    assert complexity_bias(SCORES_5, TRUTH_5, [5, 1, 4, 2, 3]) == 0.25


@pytest.mark.parametrize(
    ("truth", "scores", "size", "with_ties", "correlation"),
    [
        ([90, 92, 94, 88], [70, 66, 60, 72], [1, 2, 3, 1], 5 / 6, -0.9129),
        ([90, 92, 94, 88, 91], [70, 72, 60, 71, 69], [1, 2, 3, 1, 2], 6 / 7, -0.6708),
    ],
)
def test_ties_of_complexity_count_only_on_demand(
    truth: list[float], scores: list[float], size: list[float], with_ties: float, correlation: float
) -> None:
    assert complexity_bias(scores, truth, size) == 1
    assert complexity_bias(scores, truth, size, count_ties=True) == pytest.approx(with_ties)
    assert convergence_correlation(scores, truth, size) == pytest.approx(correlation, abs=5e-5)


def test_convergence_by_hand() -> None:
    percent = [100 * score for score in SCORES]
    assert convergence_correlation(percent, TRUTH, COMPLEXITY) == pytest.approx(0.785714, abs=1e-6)
    assert convergence_correlation(SCORES_5, TRUTH_5, [1, 2, 3, 4, 5]) == pytest.approx(-0.6)
    assert convergence_correlation(SCORES_5, TRUTH_5, [5, 1, 4, 2, 3]) == pytest.approx(0.6)


def test_convergence_without_paths_that_learn_nothing() -> None:
    scores, truth, size = [10, 10, 45, 40, 30], [10, 10, 90, 90, 90], [0, 0, 1, 2, 3]
    assert convergence_correlation(scores, truth, size, above=10) == pytest.approx(-1)
    with_zero = convergence_correlation([5, *scores], [0, *truth], [9, *size])
    assert with_zero == convergence_correlation(scores, truth, size)
    with pytest.raises(NASError, match="above is -1"):
        convergence_correlation(scores, truth, size, above=-1)


def test_rank_difference_by_hand() -> None:
    assert rank_difference(SCORES, TRUTH).tolist() == [-1, 0, 0, 0, 2, 0, -1, 0]
    assert rank_difference([math.nan, 1], [9, 8]).tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (2, [([5, 3, 1, 7], 0, 0.912871), ([0, 4, 6, 2], 0, 0.182574)]),
        (4, [([5, 3], 0, 1), ([1, 7], 0, math.nan), ([0, 4], 0.5, -1), ([6, 2], -0.5, 1)]),
    ],
)
def test_groups_by_hand(groups: int, expected: list[tuple[list[int], float, float]]) -> None:
    found = complexity_bias_by_group(SCORES, TRUTH, COMPLEXITY, groups)
    assert [group.paths.tolist() for group in found] == [paths for paths, _, _ in expected]
    assert [group.rank_difference for group in found] == [difference for _, difference, _ in expected]
    taus = [tau for _, _, tau in expected]
    assert [group.kendall_tau for group in found] == pytest.approx(taus, abs=1e-6, nan_ok=True)
    assert (found[0].lowest, found[-1].highest) == (0.07, 1.29)


def test_groups_keep_the_order_of_equal_complexity() -> None:
    assert [group.tolist() for group in complexity_groups([1, 1, 0, 1, 1], 2)] == [[2, 0, 1], [3, 4]]
    assert [group.tolist() for group in complexity_groups([2, 1], 5)] == [[1], [0]]


def test_parameters_as_score_on_nasbench201(data_root: Path) -> None:
    space = NASBench201()
    truth = list(TabularBenchmark.read(data_root / "benchmarks/nasbench201.csv").column("cifar10").values())
    params = np.array([space.cost(path).params for path in space], dtype=float)
    assert complexity_bias(-params, truth, params) == 1
    assert complexity_bias(params, truth, params) == 0


def test_too_few_paths_give_nan() -> None:
    for paths in ([], [1.0]):
        assert math.isnan(complexity_bias(paths, paths, paths))
        assert math.isnan(convergence_correlation(paths, paths, paths))
    assert complexity_bias_by_group([], [], []) == []


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NASError, match="complexity has 1 values, but there are 2 paths"):
        complexity_bias([1, 2], [1, 2], [1])
    with pytest.raises(NASError, match="complexity of path 1 is nan"):
        complexity_bias_by_group([1, 2], [1, 2], [1, math.nan])
    with pytest.raises(NASError, match="groups is 0"):
        complexity_groups([1, 2], 0)
