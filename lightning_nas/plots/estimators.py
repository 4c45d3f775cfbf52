"""What estimators that need no training say of architectures, and how far they agree."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import ArrayLike, NDArray

from lightning_nas.plots import style
from lightning_nas.plots.architecture import Sketch, draw_sketch, fills_of
from lightning_nas.plots.heat_map import draw_heat_map

PANELS_PER_ROW = 4
BINS = 40
# More decades than this leave nothing to be seen on a linear axis.
MAX_DECADES = 4

# Small enough to look at many architectures, large enough to read each of them.
MAX_SCALE = 0.7
MAX_GRID_WIDTH, MIN_COLUMN_WIDTH, TITLE_HEIGHT = 24.0, 4.2, 0.35  # inches


def tau_matrix(names: Sequence[str], taus: ArrayLike) -> Figure:
    """How far estimators and other ways of ranking agree, each with each.

    Args:
        names: Estimators, ground truth, costs, one-shot scores: n of them.
        taus: Kendall's tau of every pair, shape (n, n); NaN stays grey.
    """
    side = 1.8 + 0.42 * len(names)
    figure = style.new_figure(side + 0.6, side)
    axes = figure.subplots()
    image = draw_heat_map(axes, "Kendall tau", names, names, taus, "RdBu_r", (-1, 1), style.correlation)
    figure.colorbar(image, shrink=0.8).ax.tick_params(labelsize=style.TICK_SIZE)
    return figure


def score_histograms(scores_by_name: Mapping[str, ArrayLike], truth: ArrayLike | None = None) -> Figure:
    """How the scores of every estimator are distributed, one panel each.

    Args:
        scores_by_name: For every estimator, the scores of the architectures, shape (n,). Only finite ones are drawn;
            the title says how many are not. The axis is logarithmic where they span more than four decades.
        truth: Ground truth of the architectures, shape (n,); NaN where unknown. A line marks the truly best one.
    """
    best = None if truth is None else int(np.nanargmax(np.asarray(truth, dtype=np.float64)))
    figure, panels = _panels(len(scores_by_name), width=2.8, height=2.2)
    for axes, (name, scores) in zip(panels, scores_by_name.items(), strict=True):
        _histogram(axes, name, np.asarray(scores, dtype=np.float64), best)
    if truth is not None:
        figure.suptitle("Blue: the truly best architecture", fontsize=style.TITLE_SIZE)
    for axes in panels[::PANELS_PER_ROW]:
        axes.set_ylabel("architectures", fontsize=style.LABEL_SIZE)
    return figure


def score_by_choice(
    means_by_name: Mapping[str, ArrayLike], decisions: Sequence[str], choices: Sequence[str]
) -> Figure:
    """Which choices every estimator likes, one heat map each.

    Args:
        means_by_name: For every estimator, the mean rank of the architectures that take a choice, from 0 (worst) to 1
            (best), shape (decisions, choices); NaN stays grey.
        decisions: Their names.
        choices: Their names.
    """
    width, height = 1.4 + 0.42 * len(choices), 1.3 + 0.3 * len(decisions)
    figure, panels = _panels(len(means_by_name), width, height)
    for place, (axes, (name, means)) in enumerate(zip(panels, means_by_name.items(), strict=True)):
        draw_heat_map(axes, name, decisions, choices, means, "RdBu_r", (0, 1), style.correlation)
        axes.set_aspect("auto")
        if place % PANELS_PER_ROW:
            axes.tick_params(labelleft=False)
        if place + PANELS_PER_ROW < len(panels):
            axes.tick_params(labelbottom=False)
    return figure


def best_architectures(
    sketches_by_name: Mapping[str, Sequence[Sketch]], truths_by_name: Mapping[str, Sequence[float]]
) -> Figure:
    """What every estimator likes best: a row per estimator, from its best architecture on.

    Args:
        sketches_by_name: For every estimator its best architectures in their order, at least one, as
            :func:`lightning_nas.plots.architecture.chain` and :func:`lightning_nas.plots.architecture.cells` make them.
        truths_by_name: For every estimator the ground truth of each of them, in percent; NaN where unknown.
    """
    everything = [sketch for sketches in sketches_by_name.values() for sketch in sketches]
    fills, widest = fills_of(everything), max(sketch.width for sketch in everything)
    columns = max(map(len, sketches_by_name.values()))
    scale = min(MAX_SCALE, MAX_GRID_WIDTH / (columns * widest))
    heights = [
        scale * max(sketch.height for sketch in row) + TITLE_HEIGHT for row in sketches_by_name.values()
    ]
    column = max(MIN_COLUMN_WIDTH, scale * widest)
    width, height = columns * column, sum(heights)
    figure = Figure(figsize=(width, height))
    tops = height - np.cumsum([0, *heights[:-1]]) - TITLE_HEIGHT
    for (name, row), top in zip(sketches_by_name.items(), tops, strict=True):
        for place, (sketch, truth) in enumerate(zip(row, truths_by_name[name], strict=True)):
            size = scale * sketch.width, scale * sketch.height
            corner = place * column, top - size[1]
            axes = figure.add_axes((corner[0] / width, corner[1] / height, size[0] / width, size[1] / height))
            known = "" if math.isnan(truth) else f": ground truth {truth:.2f} %"
            title = f"{name}, number {place + 1}{known}"
            axes.set_title(title, loc="left", fontsize=style.TICK_SIZE)
            draw_sketch(axes, sketch, fills, scale)
    return figure


def _panels(number: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, row by row."""
    columns, rows = min(number, PANELS_PER_ROW), math.ceil(number / PANELS_PER_ROW)
    figure = style.new_figure(columns * width, rows * height)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[number:]:
        axes.remove()
    return figure, panels[:number]


def _histogram(axes: Axes, name: str, scores: NDArray[np.float64], best: int | None) -> None:
    finite = scores[np.isfinite(scores)]
    lost = len(scores) - len(finite)
    scale = _set_scale(axes, finite)
    style.tidy(axes, name + (f" ({lost} not finite)" if lost else ""), scale, "")
    if not len(finite):
        axes.set(xticks=[], yticks=[])
        return
    bends = axes.xaxis.get_transform()
    low, high = bends.transform([finite.min(), finite.max()])
    room = max(0.5, 0.01 * abs(low)) if low == high else 0.0
    edges = bends.inverted().transform(np.linspace(low - room, high + room, BINS + 1))
    # Rounding must not push the outermost scores out of their bins.
    edges[0], edges[-1] = min(edges[0], finite.min()), max(edges[-1], finite.max())
    axes.hist(finite, bins=edges.tolist(), color=style.NEUTRAL)
    if best is not None and np.isfinite(scores[best]):
        axes.axvline(scores[best], color=style.NAMED_COLOURS[style.GROUND_TRUTH], linewidth=1.4)


def _set_scale(axes: Axes, scores: NDArray[np.float64]) -> str:
    """Makes an axis logarithmic where scores need it, and says what it is then."""
    sizes = np.abs(scores[scores != 0])
    # A few scores that are close to 0 by chance make no decades.
    least = np.quantile(sizes, 0.05) if len(sizes) else 1.0
    if not len(sizes) or np.log10(sizes.max()) - np.log10(least) <= MAX_DECADES:
        axes.locator_params(axis="x", nbins=4)  # large numbers are wide
        return ""
    if scores.min() > 0:
        axes.set_xscale("log")
        return "logarithmic"
    axes.set_xscale("symlog", linthresh=least)
    # matplotlib's own would be so many that they are written over each other.
    outer = math.floor(np.log10(sizes.max()))
    powers = [10.0 ** ((outer + math.ceil(np.log10(least))) // 2), 10.0**outer]
    axes.xaxis.set_major_locator(FixedLocator([0, *powers, *(-power for power in powers)]))
    return f"logarithmic, linear up to {least:.0e}"
