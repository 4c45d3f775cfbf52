import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from splitting_examples import COSINES

from lightning_nas.fewshot.partition import Groups, between, min_cut, partition


def of_scalars(*values: float) -> NDArray[np.float64]:
    return -np.abs(np.subtract.outer(values, values))


def test_the_worked_example_of_cosines() -> None:
    cut = min_cut(COSINES)
    assert (cut.part, cut.rest, round(cut.cost, 12)) == ((3,), (0, 1, 2, 4), 0.8)
    costs = {part: round(between(COSINES, (part, rest)), 12) for part, rest in _bipartitions(5)}
    assert (costs[(2,)], costs[(2, 3)], costs[(0,)], costs[(4,)]) == (1.35, 1.45, 1.9, 1.9)


def test_the_worked_example_of_balanced_groups() -> None:
    groups = partition(COSINES, 2, balanced=True)
    assert groups == ((2, 3), (0, 1, 4))
    distance = 1 - COSINES
    inside = sum(distance[i, j] for group in groups for i, j in itertools.combinations(group, 2))
    assert inside == pytest.approx(1.40)
    assert between(distance, groups) == pytest.approx(4.55)


@pytest.mark.parametrize(
    ("values", "groups", "cost"),
    [
        ((0, 0, 0.1, 0.9, 0), ((3,), (0, 1, 2, 4)), -3.5),
        ((1, 1.2, 3, 3.1, 1.1), ((2, 3), (0, 1, 4)), -11.7),
        ((7, 7, 7, 7, 7), ((0,), (1, 2, 3, 4)), 0),
        ((-0.15948, -0.15948, -0.143, -0.01647, -0.15948), ((3,), (0, 1, 2, 4)), -0.55556),
    ],
)
def test_the_worked_examples_of_scalars(values: tuple[float, ...], groups: Groups, cost: float) -> None:
    cut = min_cut(of_scalars(*values))
    assert ((cut.part, cut.rest), round(cut.cost, 5)) == (groups, cost)
    assert partition(of_scalars(*values), 2) == groups


def test_the_largest_group_is_cut_again() -> None:
    assert partition(COSINES, 3) == ((3,), (2,), (0, 1, 4))
    assert partition(of_scalars(0, 1, 10, 11), 3) == ((0,), (1,), (2, 3))  # of equals the first
    assert partition(COSINES, 4, balanced=True) == ((2,), (3,), (4,), (0, 1))


def test_numbers_that_cannot_be_compared_leave_the_first_group() -> None:
    unknown = of_scalars(1.0, 2.0, 3.0, 4.0, 9.0)
    assert min_cut(unknown).part == (3, 4)
    unknown[0, 1] = np.nan
    assert min_cut(unknown).part == (0,)


@st.composite
def similarities(draw: st.DrawFn) -> NDArray[np.float64]:
    n = draw(st.integers(2, 8))
    values = draw(st.lists(st.integers(-3, 3), min_size=n * n, max_size=n * n))
    upper = np.triu(np.array(values, dtype=np.float64).reshape(n, n), 1)
    return upper + upper.T


@given(similarities())
def test_the_cut_is_that_of_brute_force(similarity: NDArray[np.float64]) -> None:
    n = len(similarity)
    found = min_cut(similarity)
    costs = [between(similarity, sides) for sides in _bipartitions(n)]
    assert found.cost == min(costs) == between(similarity, (found.part, found.rest))
    assert sorted(found.part + found.rest) == list(range(n))
    # The first of the best, where small parts come first.
    best = [sides for sides, cost in zip(_bipartitions(n), costs, strict=True) if cost == min(costs)]
    assert found.part == min(best, key=lambda sides: (len(sides[0]), sides[0]))[0]
    even = min_cut(similarity, balanced=True)
    assert len(even.part) == n // 2
    assert even.cost == min(
        between(similarity, sides) for sides in _bipartitions(n) if len(sides[0]) == n // 2
    )


@given(similarities(), st.integers(1, 9), st.booleans())
def test_groups_hold_everything_once(similarity: NDArray[np.float64], number: int, balanced: bool) -> None:
    groups = partition(similarity, number, balanced)
    assert sorted(itertools.chain(*groups)) == list(range(len(similarity)))
    assert len(groups) == min(number, len(similarity))
    assert all(groups)


def _bipartitions(n: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All of them, told by the members of every subset, of which each complement is another."""
    subsets = [tuple(i for i in range(n) if number >> i & 1) for number in range(1, 2**n - 1)]
    return [(one, tuple(i for i in range(n) if i not in one)) for one in subsets if len(one) <= n // 2]
