"""How a ranking develops while a supernet is trained."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lightning_nas.plots import style


def tau_over_epochs(epochs: Sequence[int], taus_by_name: Mapping[str, ArrayLike]) -> Figure:
    """Kendall's tau of one or several scores, or of several runs.

    Args:
        epochs: Numbers of the epochs, e of them.
        taus_by_name: For every curve its taus, shape (e,); NaN leaves a gap.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    for name, colour in style.colours(taus_by_name).items():
        taus = np.asarray(taus_by_name[name], dtype=np.float64)
        axes.plot(epochs, taus, ".-", color=colour, linewidth=1.4, label=name)
    style.tidy(axes, "agreement with the ground truth", "epoch", "Kendall tau")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def accuracy_over_epochs(
    epochs: Sequence[int], accuracies: ArrayLike, labels: Sequence[str], complexity: str
) -> Figure:
    """Mean supernet accuracy of groups of similar complexity: do large architectures learn more slowly?

    Args:
        epochs: Numbers of the epochs, e of them.
        accuracies: Mean accuracy in percent, shape (groups, e).
        labels: Names of the groups, from the smallest architectures to the largest.
        complexity: What the names say, such as ``million params``.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    shades = colormaps["viridis"](np.linspace(0.9, 0, len(labels)))
    for curve, label, shade in zip(np.asarray(accuracies, dtype=np.float64), labels, shades, strict=True):
        axes.plot(epochs, curve, ".-", color=shade, linewidth=1.4, label=label)
    style.tidy(axes, "accuracy by complexity", "epoch", "supernet accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, title=complexity, title_fontsize=style.TICK_SIZE)
    return figure
