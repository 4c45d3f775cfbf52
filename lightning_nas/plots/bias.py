"""Whom a ranking favours: large or small architectures, and which operations."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lightning_nas.plots import style
from lightning_nas.plots.heat_map import draw_heat_map


def rank_difference(
    differences_by_name: Mapping[str, ArrayLike],
    taus_by_name: Mapping[str, ArrayLike],
    labels: Sequence[str],
    complexity: str,
) -> Figure:
    """Mean rank difference and Kendall's tau inside groups of similar complexity.

    After Fig. 5 of Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021).

    Args:
        differences_by_name: For every score, the mean of rank in the ground truth minus rank by score in every
            group, shape (groups,).
        taus_by_name: For every score, Kendall's tau inside every group, shape (groups,).
        labels: Names of the groups, from the smallest architectures to the largest.
        complexity: What the names say, such as ``million params``.
    """
    figure = style.new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    _bars(left, differences_by_name, labels)
    _bars(right, taus_by_name, labels)
    left.axhline(0, color=style.NEUTRAL, linewidth=1)
    right.axhline(0, color=style.NEUTRAL, linewidth=1)
    style.tidy(left, "bias: above 0 is overrated", complexity, "mean rank difference")
    style.tidy(right, "order inside a group", complexity, "Kendall tau")
    left.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def rank_difference_table(
    differences_by_name: Mapping[str, ArrayLike], labels: Sequence[str], complexity: str
) -> Figure:
    """Mean rank difference in groups of similar complexity, for many scores: red is overrated, blue underrated.

    Args:
        differences_by_name: For every score, the mean of rank in the ground truth minus rank by score in every
            group, shape (groups,).
        labels: Names of the groups, from the smallest architectures to the largest.
        complexity: What the names say, such as ``million params``.
    """
    values = np.array(list(differences_by_name.values()), dtype=np.float64)
    figure = style.new_figure(2.6 + 0.75 * len(labels), 1.4 + 0.3 * len(differences_by_name))
    axes, largest = figure.subplots(), max(1.0, float(np.nanmax(np.abs(values), initial=0)))
    limits, title = (-largest, largest), "mean rank difference\nabove 0 is overrated"
    draw_heat_map(axes, title, list(differences_by_name), labels, values, "RdBu_r", limits, "{:+z.0f}".format)
    axes.set_aspect("auto")
    axes.set_xlabel(complexity, fontsize=style.LABEL_SIZE)
    return figure


def operation_bias(
    names: Sequence[str], truth_increase: ArrayLike, score_increase: ArrayLike, bias: ArrayLike, title: str
) -> Figure:
    """How often replacing one choice by another raises the ground truth and the score, as three heat maps.

    After Fig. A11 to A13 of Ning et al. (see :func:`rank_difference`).

    Args:
        names: Names of the choices, m of them.
        truth_increase: Share of pairs with higher ground truth after replacing the choice of the row by that of
            the column, shape (m, m); NaN stays grey.
        score_increase: The same of the score.
        bias: The second minus the first.
        title: Title of the figure: which score, and of which architectures.
    """
    side = 1.6 + 0.55 * len(names)
    figure = style.new_figure(3 * side, side + 0.3)
    figure.suptitle(title, fontsize=style.TITLE_SIZE)
    panels = figure.subplots(1, 3)
    share, change = "{:.2f}".format, "{:+.2f}".format
    draw_heat_map(panels[0], "ground truth increases", names, names, truth_increase, "viridis", (0, 1), share)
    draw_heat_map(panels[1], "score increases", names, names, score_increase, "viridis", (0, 1), share)
    values = np.asarray(bias, dtype=np.float64)
    # White is no bias, whatever the largest one is.
    largest = max(0.05, float(np.nanmax(np.abs(values), initial=0)))
    limits = (-largest, largest)
    draw_heat_map(panels[2], "bias: score - ground truth", names, names, values, "RdBu_r", limits, change)
    for axes in panels:
        axes.set_xlabel("replaced by", fontsize=style.LABEL_SIZE)
    panels[0].set_ylabel("replaced", fontsize=style.LABEL_SIZE)
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    return figure


def _bars(axes: Axes, values_by_name: Mapping[str, ArrayLike], labels: Sequence[str]) -> None:
    positions, width = np.arange(len(labels)), 0.8 / len(values_by_name)
    for i, (name, colour) in enumerate(style.colours(values_by_name).items()):
        offset = (i - (len(values_by_name) - 1) / 2) * width
        heights = np.asarray(values_by_name[name], dtype=np.float64)
        axes.bar(positions + offset, heights, width, color=colour, label=name)
    axes.set_xticks(positions, labels)
