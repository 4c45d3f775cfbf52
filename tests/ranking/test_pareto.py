import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_examples import COMPLEXITY, SCORES, TRUTH

from lightning_nas.errors import NASError
from lightning_nas.ranking.pareto import pareto_front, pareto_fronts, pareto_gap

GRID = st.integers(0, 6).map(float)


def slow_front(values: list[float], sizes: list[float]) -> set[int]:
    """Those for which no other path is at least as good in both and better in one, or equal and earlier."""
    n = range(len(values))
    return {
        i
        for i in n
        if not any(
            values[j] >= values[i]
            and sizes[j] <= sizes[i]
            and (values[j] > values[i] or sizes[j] < sizes[i] or j < i)
            for j in n
            if j != i
        )
    }


def slow_gap(scores: list[float], truth: list[float], sizes: list[float]) -> float:
    losses = []
    for budget in sorted(sizes[i] for i in slow_front(truth, sizes)):
        affordable = [i for i in range(len(truth)) if sizes[i] <= budget]
        # The best score; of several the smallest path, and of these the first.
        taken = min(affordable, key=lambda i: (-scores[i], sizes[i], i))
        losses.append(max(truth[i] for i in affordable) - truth[taken])
    return sum(losses) / len(losses)


@given(st.lists(st.tuples(GRID, GRID, GRID), min_size=2, max_size=30))
def test_front_and_gap_equal_their_definitions(paths: list[tuple[float, float, float]]) -> None:
    scores, truth, sizes = (list(column) for column in zip(*paths, strict=True))
    front = pareto_front(scores, sizes).tolist()
    assert set(front) == slow_front(scores, sizes)
    assert [sizes[i] for i in front] == sorted(sizes[i] for i in front)
    assert pareto_gap(scores, truth, sizes) == pytest.approx(slow_gap(scores, truth, sizes))


def test_eight_paths_by_hand() -> None:
    assert pareto_front(TRUTH, COMPLEXITY).tolist() == [5, 3, 1, 0, 6, 2]
    # Below the complexity of path 6 the scores take path 4 instead of it, and of path 2 too: 1.7 and 1.9 lost.
    assert pareto_gap(SCORES, TRUTH, COMPLEXITY) == pytest.approx((1.7 + 1.9) / 6)


def test_true_scores_lose_nothing() -> None:
    assert pareto_gap(TRUTH, TRUTH, COMPLEXITY) == 0


def test_paths_without_score_are_taken_last() -> None:
    assert pareto_front([math.nan, 1, 2], [0, 1, 2]).tolist() == [0, 1, 2]
    assert pareto_front([3, math.nan, math.nan], [0, 1, 2]).tolist() == [0]
    assert pareto_gap([math.nan] * 3, [90, 91, 92], [0, 1, 2]) == pytest.approx(1)


def test_too_few_paths_give_nan() -> None:
    assert math.isnan(pareto_gap([1], [1], [1]))
    assert math.isnan(pareto_gap([], [], []))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NASError, match="complexity of path 0 is nan"):
        pareto_gap([1, 2], [1, 2], [math.nan, 1])
    with pytest.raises(NASError, match=r"values have shape \(2,\), but complexity has shape \(1,\)"):
        pareto_front([1, 2], [1])


@given(st.lists(st.tuples(GRID, GRID), max_size=30))
def test_fronts_are_those_of_what_is_left(points: list[tuple[float, float]]) -> None:
    values, sizes = [value for value, _ in points], [size for _, size in points]
    left = list(range(len(points)))
    for front in pareto_fronts(values, sizes):
        expected = slow_front([values[i] for i in left], [sizes[i] for i in left])
        assert sorted(front) == sorted(left[i] for i in expected)
        left = [i for i in left if i not in front]
    assert not left
