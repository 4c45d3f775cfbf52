import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_nas.plots.metrics import MOST_POINTS, metric_over_steps


def drawn(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def names(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_runs_of_a_method_look_alike_and_methods_differ() -> None:
    curves = {"a": [([1, 2], [5, 6]), ([1], [7])], "b": [([1, 3], [8, 9])]}
    figure = metric_over_steps("val/accuracy", curves, ["a", "b"])
    axes = drawn(figure)
    lines = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert lines == [[[1, 5], [2, 6]], [[1, 7]], [[1, 8], [3, 9]]]
    colours = [line.get_color() for line in axes.lines]
    assert colours[0] == colours[1] != colours[2]
    assert names(figure) == ["a", "b"]
    assert axes.get_title() == "val/accuracy"


def test_a_method_looks_the_same_where_others_are_missing() -> None:
    methods = [f"method {number}" for number in range(10)]
    curve = [([1, 2], [5, 6])]
    everybody = drawn(metric_over_steps("loss", dict.fromkeys(methods, curve), methods)).lines
    looks = [(line.get_color(), line.get_linestyle()) for line in everybody]
    assert len(set(looks)) == 10
    for number, method in enumerate(methods):
        (line,) = drawn(metric_over_steps("loss", {method: curve}, methods)).lines
        assert (line.get_color(), line.get_linestyle()) == looks[number]


def test_long_curves_are_means_of_neighbours() -> None:
    steps, values = np.arange(1001), np.arange(1001) * 2.0
    values[3] = np.nan
    (line,) = drawn(metric_over_steps("loss", {"a": [(steps, values)]}, ["a"])).lines
    shown = np.asarray(line.get_xydata())
    # 1000 numbers, five at a time; the fourth is left out.
    assert len(shown) == MOST_POINTS
    assert shown[0].tolist() == pytest.approx([(0 + 1 + 2 + 4 + 5) / 5, 2 * (0 + 1 + 2 + 4 + 5) / 5])
    assert shown[-1].tolist() == pytest.approx([998, 1996])
    (line,) = drawn(metric_over_steps("loss", {"a": [(steps[:401], steps[:401])]}, ["a"])).lines
    # Three at a time, but for the last two.
    assert np.asarray(line.get_xydata())[-2:].tolist() == [[397, 397], [399.5, 399.5]]


def test_names_of_users_are_no_mathematics() -> None:
    figure = metric_over_steps("$loss_{", {"a$^": [([1], [2])], "b" * 40: [([1], [2])]}, ["a$^", "b" * 40])
    figure.draw_without_rendering()
    assert names(figure) == [r"a\$^", "b" * 40]
    assert drawn(figure).get_title() == r"\$loss_{"
