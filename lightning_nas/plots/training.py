"""How the training of a supernet runs: noise of its gradients, and learning rates."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lightning_nas.plots import style


def gradient_variance(epochs: Sequence[int], variance_by_name: Mapping[str, ArrayLike]) -> Figure:
    """Variance of the gradients in every epoch, on a logarithmic axis.

    After Lu et al., "PA&DA: Jointly Sampling Path and Data for Consistent NAS" (2023), who compare samplers by it.

    Args:
        epochs: Numbers of the epochs, e of them.
        variance_by_name: For every sampler its variances, shape (seeds, e) or (e,). Curves are means over seeds, bands
            reach from the lowest to the highest.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    for name, colour in style.colours(variance_by_name).items():
        seeds = np.atleast_2d(np.asarray(variance_by_name[name], dtype=np.float64))
        axes.plot(
            epochs,
            seeds.mean(axis=0),
            marker=style.marker(len(epochs)),
            color=colour,
            linewidth=1.4,
            label=name,
        )
        if len(seeds) > 1:
            axes.fill_between(
                epochs, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0
            )
    axes.set_yscale("log")
    style.tidy(axes, "gradient variance", "epoch", "variance")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def learning_rate_by_complexity(
    progress: ArrayLike, rates: ArrayLike, labels: Sequence[str], complexity: str
) -> Figure:
    """The learning rate of small and large architectures in the course of a training.

    As in the complexity-aware schedule of Jeon et al., "Subnet-Aware Dynamic Supernet Training for Neural
    Architecture Search" (2025).

    Args:
        progress: t / T, the finished share of the training, shape (t,).
        rates: Learning rates, shape (architectures, t).
        labels: Names of the architectures, from the smallest to the largest.
        complexity: What the names say, such as ``million params``.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    shades = colormaps["viridis"](np.linspace(0.9, 0, len(labels)))
    for curve, label, shade in zip(np.asarray(rates, dtype=np.float64), labels, shades, strict=True):
        axes.plot(np.asarray(progress, dtype=np.float64), curve, color=shade, linewidth=1.6, label=label)
    style.tidy(axes, "learning rate by complexity", "finished share of the training, t / T", "learning rate")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, title=complexity, title_fontsize=style.TICK_SIZE)
    return figure
