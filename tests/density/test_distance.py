import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from toy_space import Toy

from lightning_nas.density import hamming_mean_distance, mean_distance
from lightning_nas.density.distance import unit_vectors
from lightning_nas.spaces import Pooling

VECTORS = np.array([[1, 0], [1, 0.1], [1, -0.1], [0, 1]])


def slow_mean_distance(vectors: NDArray[np.float64]) -> list[float]:
    """Every pair, one at a time."""

    def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        norms = float(np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()))
        return 1.0 if min(np.linalg.norm(a), np.linalg.norm(b)) < 1e-12 else 1 - float(a @ b) / norms

    n = len(vectors)
    return [sum(distance(vectors[i], vectors[j]) for j in range(n) if j != i) / (n - 1) for i in range(n)]


def test_worked_example() -> None:
    assert mean_distance(VECTORS) == pytest.approx([0.336642, 0.308420, 0.374756, 1.0], abs=1e-6)
    assert 1 / mean_distance(VECTORS) == pytest.approx([2.970516, 3.242328, 2.668402, 1.0], abs=1e-6)


@given(
    arrays(np.float64, st.tuples(st.integers(2, 7), st.integers(1, 5)), elements=st.floats(-3, 3, width=16))
)
def test_closed_form_equals_all_pairs(vectors: NDArray[np.float64]) -> None:
    assert mean_distance(vectors) == pytest.approx(slow_mean_distance(vectors), abs=1e-9)


def test_closed_form_equals_the_mean_vector_oracle() -> None:
    y = np.random.default_rng(0).normal(size=(50, 8))
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    n = len(y)
    assert mean_distance(y) == pytest.approx((1 - y @ y.mean(0)) * n / (n - 1), abs=1e-12)


def test_a_vector_without_direction_is_at_distance_one_from_all() -> None:
    assert mean_distance([[0, 0], [1, 0], [1, 0]]) == pytest.approx([1, 0.5, 0.5])


def test_equal_vectors_have_distance_zero_and_never_less() -> None:
    distances = mean_distance(np.random.default_rng(0).normal(size=(1, 40)).repeat(30, axis=0))
    assert (distances >= 0).all()
    assert distances == pytest.approx(0, abs=1e-12)


def test_length_does_not_matter() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    assert mean_distance(x * np.arange(1, 7)[:, None]) == pytest.approx(mean_distance(x))


def test_hamming_worked_example() -> None:
    # Distances 1/3 (first, second), 1/3 (first, third), 2/3 (second, third).
    assert hamming_mean_distance([(0, 1, 2), (0, 1, 1), (2, 1, 2)]) == pytest.approx([1 / 3, 1 / 2, 1 / 2])


def test_hamming_equals_all_pairs() -> None:
    symbols = np.random.default_rng(0).integers(0, 3, size=(20, 5))
    total = np.zeros(20)
    for i, j in itertools.permutations(range(20), 2):
        total[i] += (symbols[i] != symbols[j]).mean()
    assert hamming_mean_distance(symbols) == pytest.approx(total / 19)


def test_hamming_is_the_same_for_all_pooling_paths() -> None:
    space = Pooling()
    assert hamming_mean_distance([space.features(path) for path in space]) == pytest.approx(
        0.355556, abs=1e-6
    )


def test_hamming_is_the_same_for_all_paths_of_a_product() -> None:
    assert np.ptp(hamming_mean_distance(list(Toy(layers=4)))) < 1e-12


def test_the_mean_vector_is_an_exact_oracle() -> None:
    """(1 - y.mu) n / (n - 1) is Eq. 5 wherever every vector has a direction."""
    vectors = np.random.default_rng(0).normal(size=(50, 8)) + 1
    y = unit_vectors(vectors)
    n = len(y)
    assert np.abs((1 - y @ y.mean(axis=0)) * n / (n - 1) - mean_distance(vectors)).max() < 1e-12
