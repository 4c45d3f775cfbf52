import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lightning_nas.plots import bias


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_bars_show_rank_difference_and_tau() -> None:
    figure = bias.rank_difference(
        {"accuracy": [3, -3], "-loss": [1, -1]},
        {"accuracy": [0.5, math.nan], "-loss": [0.2, 0.1]},
        ["0.1 to\n0.2", "0.2 to\n0.9"],
        "million params",
    )
    left, right = figure.axes
    assert sorted(heights(left)) == [-3, -1, 1, 3]
    assert sorted(height for height in heights(right) if not math.isnan(height)) == [0.1, 0.2, 0.5]
    assert [text.get_text() for text in left.get_xticklabels()] == ["0.1 to\n0.2", "0.2 to\n0.9"]
    assert left.get_xlabel() == "million params"


def test_heat_maps_show_every_known_share() -> None:
    truth = np.array([[math.nan, 0.5], [0.25, math.nan]])
    score = np.array([[math.nan, 0.75], [0.25, math.nan]])
    figure = bias.operation_bias(["A", "B"], truth, score, score - truth, "accuracy")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts == [["0.50", "0.25"], ["0.75", "0.25"], ["+0.25", "+0.00"]]
    low, high = figure.axes[2].images[0].get_clim()
    assert (low, high) == pytest.approx((-0.25, 0.25))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["A", "B"]


def test_text_is_dark_on_light_and_light_on_dark() -> None:
    shares = [[0, 1], [0, 1]]
    figure = bias.operation_bias(["A", "B"], shares, shares, shares, "accuracy")
    assert [text.get_color() for text in figure.axes[0].texts] == ["white", "black", "white", "black"]
