import math
from dataclasses import astuple
from itertools import combinations

import numpy as np
import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.bias import density_bias, rank_error

# Five paths from sparse to dense; the supernet underrates the two sparse ones and overrates the last.
DISTANCE = [0.9, 0.7, 0.5, 0.3, 0.1]
TRUTH = [94.0, 93.0, 90.0, 92.0, 91.0]  # ranks 1 2 5 3 4
SCORES = [0.2, 0.3, 0.1, 0.4, 0.5]  # ranks 4 3 5 2 1


def test_rank_error_by_hand() -> None:
    assert rank_error(SCORES, TRUTH).tolist() == [-3, -1, 0, 1, 3]


def test_rank_error_averages_ties_and_puts_nan_last() -> None:
    # Ranks by score 1.5 1.5 3 4, in truth 4 3 2 1.
    assert rank_error([7, 7, 5, math.nan], [1, 2, 3, 4]).tolist() == [2.5, 1.5, -1, -3]


def test_density_bias_by_hand() -> None:
    def tau_without_ties(a: list[float], b: list[float]) -> float:
        signs = [(a[i] - a[j]) * (b[i] - b[j]) for i, j in combinations(range(5), 2)]
        return (sum(s > 0 for s in signs) - sum(s < 0 for s in signs)) / 10

    density = [1 / distance for distance in DISTANCE]
    found = density_bias(DISTANCE, SCORES, TRUTH)
    assert found.density_bias == pytest.approx(tau_without_ties(density, [-3, -1, 0, 1, 3]))
    assert found.density_vs_score == pytest.approx(tau_without_ties(density, SCORES))
    assert found.density_vs_ground_truth == pytest.approx(tau_without_ties(density, TRUTH))
    assert astuple(found) == pytest.approx((1.0, 0.6, -0.6))


def test_sign() -> None:
    truth = [90.0, 92.0, 91.0, 94.0, 93.0]
    dense_overrated = [-distance for distance in DISTANCE]
    assert density_bias(DISTANCE, dense_overrated, truth).density_bias > 0
    assert density_bias(DISTANCE, DISTANCE, truth).density_bias < 0


def test_perfect_scores_have_no_rank_error() -> None:
    found = density_bias(DISTANCE, TRUTH, TRUTH)
    assert math.isnan(found.density_bias)
    assert found.density_vs_score == found.density_vs_ground_truth


def test_only_orders_matter() -> None:
    random = np.random.default_rng(0)
    distance, scores, truth = random.random((3, 40))
    expected = density_bias(distance, scores, truth)
    assert density_bias(distance, np.exp(3 * scores), truth) == expected
    assert density_bias(distance, scores, truth**3) == expected
    assert density_bias(distance**2 - distance.min() ** 2, scores, truth) == expected  # one distance is 0


def test_constant_distance_gives_nan() -> None:
    found = density_bias([0.5] * 5, SCORES, TRUTH)
    assert all(math.isnan(tau) for tau in astuple(found))


def test_wrong_vectors_are_refused() -> None:
    with pytest.raises(NASError, match="mean distance of path 0 is inf"):
        density_bias([math.inf, 1], [1, 2], [1, 2])
    with pytest.raises(NASError, match="shape"):
        density_bias([1, 2, 3], [1, 2], [1, 2])
    with pytest.raises(NASError, match="shape"):
        rank_error([1, 2, 3], [1, 2])
