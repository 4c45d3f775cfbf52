import math

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.levels import kendall_tau_within_levels, levels, sparse_kendall_tau


def test_levels_are_multiples_of_the_step() -> None:
    assert levels([0.24, 0.26, 0.74, -0.3], 0.5).tolist() == [0, 0.5, 0.5, -0.5]


def test_pairs_inside_a_level_are_ties() -> None:
    # One level of three paths and one of two: 6 pairs between them, of which the scores turn one round.
    scores, truth = [1, 3, 2, 2.5, 4], [90.1, 90.0, 89.9, 92.0, 92.1]
    assert sparse_kendall_tau(scores, truth, step=1) == pytest.approx((5 - 1) / math.sqrt(6 * 10))


def test_inside_levels_other_pairs_do_not_count() -> None:
    # Levels of 3 (tau 1/3), 2 (tau -1), 1 path, and 2 paths with one score.
    scores, truth = [1, 3, 2, 2, 1, 9, 5, 5], [89.9, 90.0, 90.1, 92.0, 92.1, 95, 97, 97.1]
    assert kendall_tau_within_levels(scores, truth, step=1) == pytest.approx((3 / 3 - 1) / 4)


def test_nothing_to_compare_gives_nan() -> None:
    assert math.isnan(kendall_tau_within_levels([1, 2], [80, 90], step=1))
    assert math.isnan(sparse_kendall_tau([1, 2], [90, 90.1], step=1))
    assert math.isnan(sparse_kendall_tau([], [], step=1))


@pytest.mark.parametrize("step", [0, -1, math.nan, math.inf])
def test_a_step_is_a_width(step: float) -> None:
    with pytest.raises(NASError, match=f"step is {step}"):
        levels([90], step)
