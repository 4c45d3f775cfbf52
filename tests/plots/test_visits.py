import math

import numpy as np
import pytest
from matplotlib.colors import Normalize

from lightning_nas.errors import NASError
from lightning_nas.plots import style, visits

NAN = math.nan
NAMES = [("none", "skip", "conv"), ("none", "skip")]
COUNTS = np.array([[1, 2, 1], [3, 1, NAN]])


def test_shares_of_every_decision_add_up_to_one() -> None:
    assert visits.choice_shares(COUNTS) == pytest.approx(
        np.array([[0.25, 0.5, 0.25], [0.75, 0.25, NAN]]), nan_ok=True
    )


@pytest.mark.parametrize("counts", [[[1, 2], [0, 0]], [[1, -1], [1, 1]], [[1, 1], [NAN, NAN]]])
def test_impossible_counts_are_refused(counts: list[list[float]]) -> None:
    with pytest.raises(NASError, match="0 or more, and not all 0 at a decision"):
        visits.choice_visits(counts, NAMES)


def test_colours_compare_with_the_equal_share_of_the_decision() -> None:
    figure = visits.choice_visits(COUNTS, NAMES)
    axes, bar = figure.axes
    (image,) = axes.images
    values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=np.float64), NAN)
    assert values == pytest.approx(np.array([[0.75, 1.5, 0.75], [1.5, 0.5, NAN]]), nan_ok=True)
    assert image.get_clim() == (0.5, 1.5)
    assert image.to_rgba(np.array(1.0))[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    assert bar.get_ylabel() == "times equal share"
    assert bar.get_ylim() == (0.5, 1.5)


def test_the_colour_bar_does_not_promise_less_than_nothing() -> None:
    figure = visits.choice_visits([[5, 0, 0]], [("a", "b", "c")])
    assert figure.axes[0].images[0].get_clim() == (-1, 3)
    assert figure.axes[1].get_ylim() == (0, 3)


def test_noise_is_not_blown_up() -> None:
    norm = visits.choice_visits([[1000, 1001]], [("a", "b")]).axes[0].images[0].norm
    assert isinstance(norm, Normalize)
    assert (norm.vmin, norm.vmax) == (0.9, 1.1)


def test_shared_names_stand_at_the_columns() -> None:
    axes = visits.choice_visits(COUNTS, NAMES).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "skip", "conv"]
    assert [text.get_text() for text in axes.texts] == ["25.0", "50.0", "25.0", "75.0", "25.0"]


def test_other_names_stand_in_the_cells() -> None:
    axes = visits.choice_visits(COUNTS, [("a", "b", "c"), ("x", "y")]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in axes.texts] == ["a\n25.0", "b\n50.0", "c\n25.0", "x\n75.0", "y\n25.0"]


def test_many_columns_are_drawn_without_numbers() -> None:
    axes = visits.choice_visits(np.ones((1, 60)), [tuple(f"path {i}" for i in range(60))]).axes[0]
    assert not axes.texts
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {90}


def test_a_curve_for_every_operation() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    (axes,) = visits.operations_over_epochs([1, 5], probabilities, ("none", "skip", "conv"), "PA").axes
    *curves, equal = axes.lines
    assert {curve.get_label(): np.asarray(curve.get_ydata()).tolist() for curve in curves} == {
        "none": [0.5, 0.6],
        "skip": [0.3, 0.3],
        "conv": [0.2, 0.1],
    }
    assert np.asarray(curves[0].get_xdata()).tolist() == [1, 5]
    assert np.asarray(equal.get_ydata()).tolist() == [1 / 3, 1 / 3]
    assert axes.get_title() == "PA"
    assert axes.get_ylim()[0] == 0


def test_twenty_one_operations_can_be_told_apart() -> None:
    names = [f"operation {i}" for i in range(21)]
    (axes,) = visits.operations_over_epochs([1], np.full((1, 21), 1 / 21), names, "").axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines[:21]}
    assert len(looks) == 21
    with pytest.raises(NASError, match="22 operations cannot be told apart as curves: valid are 1 to 21"):
        visits.operations_over_epochs([1], np.full((1, 22), 1 / 22), [*names, "x"], "")


def test_many_epochs_have_no_marks() -> None:
    assert style.marker(60) == "."
    assert style.marker(61) == ""
