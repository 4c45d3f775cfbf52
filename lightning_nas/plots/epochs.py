"""How a ranking develops while a supernet is trained, or scored on more images."""

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
    return _curves(epochs, taus_by_name, "agreement with the ground truth", "Kendall tau")


def stability_over_epochs(epochs: Sequence[int], curves_by_name: Mapping[str, ArrayLike]) -> Figure:
    """How much the ranking of every epoch agrees with that of the one before.

    After Fig. A14 of Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021).

    Args:
        epochs: Numbers of the epochs but the first, e of them.
        curves_by_name: For every criterion of :func:`lightning_nas.ranking.stability.stability` its values, shape (e,).
    """
    return _curves(epochs, curves_by_name, "agreement with the epoch before", "tau, or share")


def tau_over_batches(criteria: Mapping[int, Mapping[str, float]]) -> Figure:
    """Kendall's tau of scores on few and on many validation batches.

    After Fig. 3 and A3 of Ning et al. (see :func:`stability_over_epochs`).

    Args:
        criteria: For every number of batches its criteria by name; those that begin with ``tau`` are drawn.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    names = [name for name in next(iter(criteria.values())) if name.startswith("tau")]
    for name, colour in style.colours(names).items():
        line = "--" if name.startswith("tau_to_all") else "-"
        axes.plot(
            list(criteria),
            [found[name] for found in criteria.values()],
            line,
            marker=".",
            color=colour,
            linewidth=1.4,
            label=name,
        )
    style.tidy(axes, "scores of the first batches alone", "validation batches", "Kendall tau")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(criteria), [str(batches) for batches in criteria])
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


def _curves(
    epochs: Sequence[int], curves_by_name: Mapping[str, ArrayLike], title: str, y_label: str
) -> Figure:
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    for name, colour in style.colours(curves_by_name).items():
        values = np.asarray(curves_by_name[name], dtype=np.float64)
        axes.plot(epochs, values, ".-", color=colour, linewidth=1.4, label=name)
    style.tidy(axes, title, "epoch", y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure
