import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Rectangle

from lightning_nas import plots
from lightning_nas.plots import style
from lightning_nas.plots.estimators import MIN_COLUMN_WIDTH, PANELS_PER_ROW
from lightning_nas.plots.heat_map import UNKNOWN

CELL = plots.cells([("cell", ("input", "output"), ((0, 1, "conv"),))])
CHAIN = plots.chain([("32 x 32", ("stem", "conv")), ("16 x 16", ("pool",))])


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def counts(axes: Axes) -> list[int]:
    return [round(bar.get_height()) for bar in axes.patches if isinstance(bar, Rectangle)]


def test_agreements_are_written_without_a_leading_zero() -> None:
    taus = np.array([[1, -0.25, math.nan], [-0.25, 1, 0.5], [math.nan, 0.5, 1]])
    figure = plots.tau_matrix(["synflow", "params", "ground truth"], taus)
    axes = figure.axes[0]
    assert texts(axes) == ["1.00", "-.25", "-.25", "1.00", ".50", ".50", "1.00"]
    assert {text.get_text(): text.get_color() for text in axes.texts} == {
        "1.00": "white",
        "-.25": "black",
        ".50": "black",
    }
    assert axes.images[0].get_clim() == (-1, 1)
    assert axes.get_facecolor() == to_rgba(UNKNOWN)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["synflow", "params", "ground truth"]


def test_numbers_of_many_estimators_stay_inside_their_cells() -> None:
    names = [f"estimator {i}" for i in range(18)]
    figure = plots.tau_matrix(names, np.full((18, 18), -0.99))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    corners: Any = axes.transData.transform([(0, 0), (1, 0)])
    side = corners[1][0] - corners[0][0]
    assert all(text.get_window_extent().width < side for text in axes.texts)


def test_every_finite_score_is_counted() -> None:
    scores: dict[str, Any] = {
        "grasp": [1, 2, 2, math.nan, -math.inf],
        "relu": [3, 3, 3, 3, 3],
        "lost": [math.nan] * 5,
    }
    grasp, relu, lost = plots.score_histograms(scores).axes
    assert (sum(counts(grasp)), sum(counts(relu)), sum(counts(lost))) == (3, 5, 0)
    titles = [axes.get_title() for axes in (grasp, relu, lost)]
    assert titles == ["grasp (2 not finite)", "relu", "lost (5 not finite)"]


@pytest.mark.parametrize("score", [1e30, -1e30, 1e-30, 0.0])
def test_a_single_architecture_is_a_bar(score: float) -> None:
    figure = plots.score_histograms({"synflow": [score]})
    figure.draw_without_rendering()
    assert sum(counts(figure.axes[0])) == 1


@pytest.mark.parametrize(
    ("scores", "scale", "label"),
    [
        (np.logspace(0, 50, 200), "log", "logarithmic"),
        (np.logspace(-0.1, 4, 200), "linear", ""),
        (np.logspace(-300, 300, 200), "log", "logarithmic"),
        (-np.logspace(0, 6, 1000), "symlog", "logarithmic, linear up to 2e+00"),
        (np.append(np.logspace(0, 9, 1000), 0), "symlog", "logarithmic, linear up to 3e+00"),
        (np.append(np.linspace(1, 2, 200), 1e-9), "linear", ""),
        (np.zeros(200), "linear", ""),
    ],
    ids=["synflow", "narrow", "all of double precision", "negative", "with 0", "one by chance", "0"],
)
def test_an_axis_is_logarithmic_where_it_must_be(scores: Any, scale: str, label: str) -> None:
    [axes] = plots.score_histograms({"score": scores}).axes
    assert (axes.get_xscale(), axes.get_xlabel()) == (scale, label)
    assert sum(counts(axes)) == len(scores)
    if scale != "linear":
        assert np.count_nonzero(counts(axes)) > 20


SIZES = np.logspace(-5, 9, 500)


@pytest.mark.parametrize("scores", [np.concatenate([SIZES, -SIZES]), -SIZES], ids=["both signs", "negative"])
def test_ticks_of_a_logarithmic_axis_do_not_meet(scores: Any) -> None:
    figure = plots.score_histograms({"score": scores} | {f"{i}": SIZES for i in "abc"})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    extents = [tick.label1.get_window_extent() for tick in shown]
    assert len(extents) >= 3
    assert not any(a.overlaps(b) for i, a in enumerate(extents) for b in extents[:i])


def test_the_truly_best_is_marked_where_its_score_is_known() -> None:
    scores = {"grasp": [1.0, 2, 3], "ntk": [1.0, -math.inf, 3]}
    figure = plots.score_histograms(scores, truth=[90, 94, math.nan])
    lines = [[line.get_xdata() for line in axes.lines] for axes in figure.axes]
    assert lines == [[[2, 2]], []]
    assert not plots.score_histograms(scores).axes[0].lines


def test_every_estimator_has_its_map_of_choices() -> None:
    means = {f"estimator {i}": np.full((2, 3), i / 10) for i in range(PANELS_PER_ROW + 2)}
    means["estimator 0"][1, 2] = math.nan
    figure = plots.score_by_choice(means, ["0 to 1", "0 to 2"], ["none", "skip", "conv"])
    assert [axes.get_title() for axes in figure.axes] == list(means)
    assert texts(figure.axes[0]) == [".00"] * 5
    assert texts(figure.axes[3]) == [".30"] * 6
    assert [label.get_text() for label in figure.axes[4].get_yticklabels()] == ["0 to 1", "0 to 2"]


@pytest.mark.parametrize("sketch", [CELL, CHAIN], ids=["cells", "chain"])
def test_the_best_stand_beside_each_other(sketch: plots.Sketch) -> None:
    figure = plots.best_architectures(
        {"synflow": [sketch] * 3, "relu": [sketch] * 2}, {"synflow": [94.37, math.nan, 90], "relu": [1, 2]}
    )
    assert [axes.get_title("left") for axes in figure.axes] == [
        "synflow, number 1: ground truth 94.37 %",
        "synflow, number 2",
        "synflow, number 3: ground truth 90.00 %",
        "relu, number 1: ground truth 1.00 %",
        "relu, number 2: ground truth 2.00 %",
    ]
    places = [axes.get_position() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(places) for b in places[:i])
    assert places[0].y0 == places[2].y0 > places[3].y1
    assert figure.get_figwidth() == 3 * MIN_COLUMN_WIDTH
    assert all(float(axes.texts[0].get_fontsize()) < style.LABEL_SIZE for axes in figure.axes)


def test_one_operation_has_one_colour_in_all_architectures() -> None:
    other = plots.chain([("32 x 32", ("conv", "another"))])
    figure = plots.best_architectures({"synflow": [CHAIN, other]}, {"synflow": [math.nan] * 2})
    fills = [
        {
            text.get_text(): box.get_facecolor()
            for text, box in zip(
                [text for text in axes.texts if " x " not in text.get_text()],
                [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)],
                strict=True,
            )
        }
        for axes in figure.axes
    ]
    assert fills[0]["conv"] == fills[1]["conv"] != fills[1]["another"]
