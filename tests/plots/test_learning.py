import numpy as np

from lightning_nas import plots


def test_every_decision_has_a_panel_with_its_choices() -> None:
    """Two decisions among named operations, and one among two numbers."""
    settled = [[0.2, 0.8], [0.0, 1.0]]
    probabilities = [settled, [[0.5, 0.5], [0.9, 0.1]], [[0.3, 0.7], [0.6, 0.4]]]
    figure = plots.probabilities_over_epochs(
        [1, 2], probabilities, [("skip", "conv"), ("skip", "pool"), None]
    )
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["0: conv", "1: skip", "2: choice 0"]
    for axes, curves in zip(panels, probabilities, strict=True):
        for line, curve in zip(axes.lines, np.transpose(curves), strict=False):
            np.testing.assert_array_equal(line.get_ydata(), curve)
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2])
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["skip", "conv", "pool"]
    assert panels[0].lines[0].get_color() == panels[1].lines[0].get_color()
    assert panels[0].lines[1].get_color() != panels[1].lines[1].get_color()


def test_an_epoch_and_a_decision_are_enough() -> None:
    figure = plots.probabilities_over_epochs([1], [[[0.25, 0.75]]], [None])
    [axes] = figure.axes
    assert not figure.legends
    assert [line.get_marker() for line in axes.lines] == [".", "."]
