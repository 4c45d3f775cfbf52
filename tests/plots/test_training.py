import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb

from lightning_nas.plots import training


def test_variances_are_means_over_seeds_with_a_band() -> None:
    (axes,) = training.variance_over_epochs([1, 5], {"uniform": [[1, 2], [3, 4]], "PA": [0.5, 0.1]}).axes
    assert {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines} == {
        "uniform": [2, 3],
        "PA": [0.5, 0.1],
    }
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [1, 5]
    (band,) = [part for part in axes.collections if isinstance(part, PolyCollection)]
    corners = {tuple(corner) for corner in np.asarray(band.get_paths()[0].vertices).tolist()}
    assert {(1, 1), (1, 3), (5, 2), (5, 4)} <= corners
    assert axes.get_yscale() == "log"


def test_rates_darken_with_complexity() -> None:
    progress = np.linspace(0, 1, 5)
    rates = np.stack([(1 - progress) ** gamma for gamma in (4, 1, 0.25)])
    (axes,) = training.learning_rate_by_complexity(
        progress, rates, ["0.1", "0.8", "1.5"], "million params"
    ).axes
    for line, rate in zip(axes.lines, rates, strict=True):
        assert np.asarray(line.get_ydata()) == pytest.approx(rate)
        assert np.asarray(line.get_xdata()) == pytest.approx(progress)
    brightness = [sum(to_rgb(line.get_color())) for line in axes.lines]
    assert brightness == sorted(brightness, reverse=True)
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "million params"
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.8", "1.5"]


def test_similarities_are_points_and_means_by_distance() -> None:
    (axes,) = training.similarity_by_distance([2, 1, 2], [0.5, 0.25, -0.25], "pairs").axes
    points, means = axes.lines[:2]
    assert np.asarray(points.get_xydata()).tolist() == [[2, 0.5], [1, 0.25], [2, -0.25]]
    assert np.asarray(means.get_xydata()).tolist() == [[1, 0.25], [2, 0.125]]


def test_forgetting_is_a_mean_with_a_band_of_one_deviation() -> None:
    (axes,) = training.forgetting_over_epochs([1, 2], [[-3, 1], [2, 2, 2]]).axes
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[1, -1], [2, 2]]
    (band,) = [part for part in axes.collections if isinstance(part, PolyCollection)]
    corners = {tuple(corner) for corner in np.asarray(band.get_paths()[0].vertices).tolist()}
    assert corners == {(1, -3), (1, 1), (2, 2)}


def test_variance_and_tau_have_an_axis_each() -> None:
    left, right = training.variance_and_tau([16, 64], [0.5, 0.1], [0.2, 0.3], "batch size").axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["16", "64"]
    assert np.asarray(left.lines[0].get_ydata()).tolist() == [0.5, 0.1]
    assert np.asarray(right.lines[0].get_ydata()).tolist() == [0.2, 0.3]
    assert left.get_xlabel() == "batch size"


def test_trainability_is_a_median_with_a_gap_where_it_is_infinite() -> None:
    numbers: list[list[float]] = [[1, 2, 3], [np.inf, np.inf, 1], [np.inf, 1, 2, 3]]
    (axes,) = training.trainability_over_epochs([1, 2, 3], numbers).axes
    np.testing.assert_equal(np.asarray(axes.lines[0].get_ydata()), [2, np.nan, 2.5])
