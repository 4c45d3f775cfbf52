"""Scores of the same architectures side by side."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from toy_space import Toy

from lightning_nas.zeroshot.estimates import Estimates

SPACE = Toy(layers=2)
PATHS = [(0, 0), (0, 1), (1, 1), (2, 1), (2, 2)]
TRUTH = np.array([10.0, 20, 30, 50, 40])
SCORES = {
    "rising": np.array([1.0, 2, 3, 4, 5]),
    "partly known": np.array([math.nan, 3, -math.inf, 1, math.inf]),
    "unknown": np.full(5, math.nan),
}
FOUND = Estimates(SPACE, PATHS, SCORES, TRUTH)


def test_what_is_not_finite_is_named_beside_its_architecture(tmp_path: Path) -> None:
    FOUND.write(tmp_path / "estimates.csv")
    with (tmp_path / "estimates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["arch", "ground_truth", *SCORES, "degenerate"]
    assert [row["degenerate"] for row in rows] == [
        "partly known; unknown",
        "unknown",
        "partly known; unknown",
        "unknown",
        "partly known; unknown",
    ]
    assert [row["rising"] for row in rows] == list("12345")
    assert [row["partly known"] for row in rows] == ["nan", "3.0", "-inf", "1.0", "inf"]


def test_what_is_not_known_is_never_among_the_best() -> None:
    assert FOUND.best(2) == {"rising": [4, 3], "partly known": [1, 3], "unknown": []}
    assert FOUND.best(9)["partly known"] == [1, 3]
    equal = Estimates(SPACE, PATHS, {"equal": np.array([1.0, 2, 2, 0, 2])})
    assert equal.best(2) == {"equal": [1, 2]}


def test_criteria_count_what_is_not_known_as_the_worst() -> None:
    criteria = FOUND.criteria()
    assert criteria["rising"]["kendall_tau"] == pytest.approx(0.8)
    assert [criteria[name]["unscored"] for name in SCORES] == [0, 3, 5]
    assert math.isnan(criteria["unknown"]["kendall_tau"])
    assert Estimates(SPACE, PATHS, SCORES).criteria() == {}


def test_agreements_are_of_every_two_scores() -> None:
    names, taus = FOUND.taus()
    assert names == ["ground truth", *SCORES]
    np.testing.assert_allclose(taus, taus.T, rtol=1e-12)
    assert taus[0, 1] == pytest.approx(0.8)
    assert taus[1, 1] == pytest.approx(1)
    assert np.isnan(taus[3]).all()
    assert Estimates(SPACE, PATHS, SCORES).taus()[0] == list(SCORES)


def test_ranks_by_choice_are_means_from_0_to_1() -> None:
    found = FOUND.ranks_by_choice()
    nothing = math.nan
    np.testing.assert_allclose(found["rising"], [[1 / 8, 1 / 2, 7 / 8], [0, 1 / 2, 1]])
    np.testing.assert_allclose(found["ground truth"], [[1 / 8, 1 / 2, 7 / 8], [0, 7 / 12, 3 / 4]])
    # Three that are not known share the ranks 1, 2 and 3.
    np.testing.assert_allclose(found["partly known"][0], [(0.25 + 1) / 2, 0.25, (0.75 + 0.25) / 2])
    single = Estimates(SPACE, [(0, 2)], {"one": np.ones(1)}).ranks_by_choice()["one"]
    np.testing.assert_array_equal(single, [[0, nothing, nothing], [nothing, nothing, 0]])


def test_groups_of_size_are_overrated_or_not() -> None:
    """The smallest network is a group, and each of the larger ones, of which two have the same size."""
    found = FOUND.rank_differences()
    assert found is not None
    differences, labels = found
    assert differences["rising"] == [0, 0, 0, -1, 1]
    sizes = [SPACE.cost(path).params / 1e6 for path in PATHS]
    assert labels == [f"{size:.3g} to {size:.3g}" for size in sizes]
    assert Estimates(SPACE, PATHS, SCORES).rank_differences() is None
    alike = [(1, 2), (2, 1), (1, 1)]
    assert Estimates(SPACE, alike, {"a": np.ones(3)}, TRUTH[:3]).rank_differences() is None


def test_operations_are_overrated_or_not() -> None:
    assert set(FOUND.biases()) == set(SCORES)
    assert Estimates(SPACE, PATHS, SCORES).biases() == {}
    assert Estimates(SPACE, [(0, 0), (1, 1)], {"a": np.ones(2)}, TRUTH[:2]).biases() == {}
