import math

import numpy as np
from matplotlib.patches import Rectangle

from lightning_nas import plots


def test_every_seed_is_a_point_and_the_mean_a_bar() -> None:
    taus = {"uniform": [0.1, 0.3], "density": [0.5, math.nan], "fair": [math.nan]}
    (axes,) = plots.tau_of_methods(taus, {"macs": 0.4}).axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [np.asarray(line.get_xdata()).tolist() for line in points] == [[0.1, 0.3], [0.5], []]
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose([bar.get_width() for bar in bars], [0.2, 0.5])
    for row, line in enumerate(points):
        assert set(np.asarray(line.get_ydata()).tolist()) <= {row}
    assert [text.get_text() for text in axes.get_yticklabels()] == list(taus)


def test_what_ranks_without_training_is_a_line() -> None:
    (axes,) = plots.tau_of_methods({"uniform": [0.1]}, {"params": 0.2, "macs": 0.4}).axes
    lines = {str(line.get_label()): np.asarray(line.get_xdata()).tolist() for line in axes.lines}
    assert lines["params"] == [0.2, 0.2]
    assert lines["macs"] == [0.4, 0.4]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["params", "macs"]


def test_without_baselines_there_is_no_legend() -> None:
    (axes,) = plots.tau_of_methods({"uniform": [0.1]}, {}).axes
    assert axes.get_legend() is None
