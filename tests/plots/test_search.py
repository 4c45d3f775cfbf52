from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_nas import plots


def lines(figure: Figure) -> dict[str, Any]:
    [axes] = figure.axes
    return {str(line.get_label()): line for line in axes.lines}


def test_the_best_so_far_never_falls() -> None:
    drawn = lines(plots.best_so_far([1, 2, 3, 4, 5], [3, 1, 4, 1, 5], "accuracy"))
    assert drawn["scored"].get_ydata().tolist() == [3, 1, 4, 1, 5]
    assert drawn["best so far"].get_ydata().tolist() == [3, 3, 4, 4, 5]
    assert drawn["best so far"].get_xdata().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("cost", "unit", "label"),
    [
        ("params", 1e6, "million parameters"),
        ("macs", 1e6, "million multiply-adds"),
        ("latency", 1, "latency (ms)"),
        ("joules", 1, "joules"),
    ],
)
def test_costs_have_their_unit(cost: str, unit: float, label: str) -> None:
    figure = plots.pareto([2e6, 1e6, 3e6], [50, 40, 45], [1, 0], cost, "accuracy")
    drawn = lines(figure)
    assert drawn["scored"].get_xdata().tolist() == [2e6 / unit, 1e6 / unit, 3e6 / unit]
    assert drawn["front of the scores"].get_xdata().tolist() == [1e6 / unit, 2e6 / unit]
    assert drawn["front of the scores"].get_ydata().tolist() == [40, 50]
    assert figure.axes[0].get_xlabel() == label
    assert figure.axes[0].get_ylabel() == "accuracy"


def test_both_fronts_are_in_sight_beside_networks_that_learned_nothing() -> None:
    scored = [(1e6 * i, 90.0 + i / 100) for i in range(100)] + [(1e6, 10.0)]
    figure = plots.pareto_against_truth(scored, [(1e6, 90.5)], [(1e6, 91.0), (5e6, 92.0)], "macs")
    low, high = figure.axes[0].get_ylim()
    assert 80 < low < 90.0
    assert 92 < high < 93
    assert lines(figure)["front of the ground truth"].get_ydata().tolist() == [91, 92]
    assert lines(figure)["front of the scores"].get_xdata().tolist() == [1]


def test_the_regret_of_every_search_is_the_mean_over_its_seeds() -> None:
    courses = {
        "random": np.array([[4.0, 2.0, 2.0], [2.0, 2.0, 0.0]]),
        "evolution": np.array([[1.0, 1.0, 1.0]]),
    }
    figure = plots.regret_over_evaluations(courses)
    drawn = lines(figure)
    assert drawn["random"].get_ydata().tolist() == [3, 2, 1]
    assert drawn["evolution"].get_ydata().tolist() == [1, 1, 1]
    assert figure.axes[0].get_ylim()[0] == 0
