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


def test_stability_and_fewer_batches_are_curves_over_their_numbers() -> None:
    (axes,) = epochs.stability_over_epochs([2, 3], {"rel_kendall_tau": [0.4, 0.7]}).axes
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[2, 0.4], [3, 0.7]]
    found = {
        1: {"tau": 0.2, "p_at_top_5": 1, "tau_to_all": 0.5},
        3: {"tau": 0.4, "p_at_top_5": 1, "tau_to_all": 1},
    }
    (axes,) = epochs.tau_over_batches(found).axes
    curves = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert curves == {"tau": [[1, 0.2], [3, 0.4]], "tau_to_all": [[1, 0.5], [3, 1]]}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3"]
