"""How a space was split, and what its leaves are worth."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lightning_nas.plots import style
from lightning_nas.plots.heat_map import draw_heat_map

ROW, LETTER, GAP = 0.3, 0.062, 0.35  # inches


class Branch(NamedTuple):
    """A node of a tree.

    Attributes:
        text: What it is.
        children: Its branches.
    """

    text: str
    children: tuple["Branch", ...] = ()


def split_tree(root: Branch, title: str) -> Figure:
    """A tree from left to right, a leaf per line.

    Args:
        root: The tree.
        title: Title of the figure.
    """
    widths: list[float] = []
    leaves = _measure(root, 0, widths)
    starts = np.concatenate([[0.1], 0.1 + np.cumsum(np.array(widths) + GAP)])
    width, height = max(4.5, starts[-1]), max(1.2, (leaves + 1) * ROW)
    figure = style.new_figure(width, height + 0.4)
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.set_title(title, fontsize=style.TITLE_SIZE)
    row = iter(range(leaves))

    def draw(branch: Branch, level: int) -> float:
        heights = [draw(child, level + 1) for child in branch.children]
        y = float(np.mean([heights[0], heights[-1]])) if heights else height - (next(row) + 0.8) * ROW
        end = starts[level] + LETTER * len(branch.text) + 0.04
        for child in heights:
            middle = starts[level + 1] - GAP / 2
            axes.plot(
                [end, middle, middle, starts[level + 1] - 0.05],
                [y, y, child, child],
                color=style.NEUTRAL,
                linewidth=0.8,
            )
        axes.text(starts[level], y, branch.text, va="center", fontsize=style.TICK_SIZE)
        return y

    draw(root, 0)
    return figure


def _measure(branch: Branch, level: int, widths: list[float]) -> int:
    """The number of leaves; the widths of the levels are written into a list."""
    widths.extend([0.0] * (level + 1 - len(widths)))
    widths[level] = max(widths[level], LETTER * len(branch.text))
    return sum(_measure(child, level + 1, widths) for child in branch.children) or 1


def truth_of_leaves(truths: Sequence[ArrayLike], best: float) -> Figure:
    """The distribution of ground truth in every leaf (Ly-Manson et al., Fig. 3).

    Args:
        truths: For every leaf the ground truth of its paths in percent.
        best: The best of all.
    """
    figure = style.new_figure(max(4.5, 1.2 + 0.6 * len(truths)), 3.6)
    axes = figure.subplots()
    values = [np.asarray(truth, dtype=np.float64) for truth in truths]
    axes.boxplot(
        values,
        positions=range(len(values)),
        widths=0.6,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": style.NEUTRAL},
        medianprops={"color": style.NAMED_COLOURS[style.GROUND_TRUTH]},
    )
    axes.axhline(best, color=style.NAMED_COLOURS["density"], linewidth=1, label=f"best of all: {best:.2f} %")
    axes.set_xticks(range(len(values)), [f"{i}\n{len(value):,}" for i, value in enumerate(values)])
    # Networks that learned nothing would press all others into a line.
    everything = np.concatenate(values)
    low = np.quantile(everything, 0.05)
    margin = max(0.05 * (everything.max() - low), 0.1)
    axes.set_ylim(low - margin, everything.max() + margin)
    style.tidy(axes, "ground truth of the leaves", "leaf, and number of its paths", "accuracy (%)")
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, loc="lower left")
    return figure


def leaves_over_epochs(
    accuracies: Mapping[int, tuple[Sequence[int], Sequence[float]]],
    truths: Mapping[int, tuple[Sequence[int], Sequence[float]]],
) -> Figure:
    """What leaves are chosen by, and how good the path is that each of them ranks first.

    Args:
        accuracies: For every leaf epochs, and its validation accuracy after them in percent.
        truths: For every leaf epochs, and the ground truth of the path it ranks first; empty without ground truth.
    """
    panels = [("validation accuracy", accuracies)] + ([("path ranked first", truths)] if truths else [])
    figure = style.new_figure(4.6 * len(panels) + 0.8, 3.4)
    shades = colormaps["turbo"](np.linspace(0.05, 0.95, max(2, len(accuracies))))
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for shade, (leaf, (epochs, values)) in zip(shades, curves.items(), strict=False):
            axes.plot(epochs, values, ".-", color=shade, linewidth=1.2, label=f"leaf {leaf}")
        style.tidy(
            axes, title, "epoch", "mean of its paths (%)" if title.startswith("val") else "ground truth (%)"
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def found_by_split(
    splits: Sequence[str], algorithms: Sequence[str], tables: Mapping[str, ArrayLike], title: str
) -> Figure:
    """What algorithms found in the parts of splits, as heat maps side by side.

    Args:
        splits: Names of n splits.
        algorithms: Names of m algorithms.
        tables: By title, the accuracies in percent, shape (n, m); NaN stays grey.
        title: Title of the figure.
    """
    width, height = 1.2 + 0.6 * len(algorithms), 1.4 + 0.3 * len(splits)
    figure = style.new_figure(0.9 + width * len(tables), height)
    figure.suptitle(title, fontsize=style.TITLE_SIZE)
    known = np.concatenate([np.ravel(np.asarray(table, dtype=np.float64)) for table in tables.values()])
    known = known[np.isfinite(known)]
    # One search that failed must not take all colours from the others.
    lowest, highest = np.quantile(known, (0.1, 1)) if len(known) else (0, 100)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        draw_heat_map(
            axes, name, splits, algorithms, table, "viridis", (float(lowest), float(highest)), "{:.2f}".format
        )
        axes.set_aspect("auto")
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    return figure
