import numpy as np
from matplotlib.colors import to_rgb

from lightning_nas.plots import epochs


def test_a_curve_for_every_score() -> None:
    (axes,) = epochs.tau_over_epochs([1, 5], {"accuracy": [0.1, 0.2], "-loss": [0.3, 0.4]}).axes
    assert {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines} == {
        "accuracy": [0.1, 0.2],
        "-loss": [0.3, 0.4],
    }
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [1, 5]


def test_groups_darken_with_complexity() -> None:
    accuracies = np.array([[10, 20], [5, 30], [1, 40]])
    (axes,) = epochs.accuracy_over_epochs(
        [1, 2], accuracies, ["small", "middle", "large"], "million macs"
    ).axes
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == accuracies.tolist()
    brightness = [sum(to_rgb(line.get_color())) for line in axes.lines]
    assert brightness == sorted(brightness, reverse=True)
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "million macs"
    assert [text.get_text() for text in legend.get_texts()] == ["small", "middle", "large"]
