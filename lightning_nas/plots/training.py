"""How the training of a supernet runs: its gradients, its learning rates, what it forgets, how evenly it learns."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lightning_nas.plots import style


def variance_over_epochs(
    epochs: Sequence[int], variance_by_name: Mapping[str, ArrayLike], label: str = "gradient variance"
) -> Figure:
    """Variance of the gradients in every epoch, on a logarithmic axis.

    After Lu et al., "PA&DA: Jointly Sampling Path and Data for Consistent NAS" (2023), who compare samplers by it.

    Args:
        epochs: Numbers of the epochs, e of them.
        variance_by_name: For every sampler its variances, shape (seeds, e) or (e,). Curves are means over seeds, bands
            reach from the lowest to the highest.
        label: What varies, such as ``momentum deviation``.
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
    style.tidy(axes, label, "epoch", label.rpartition(" ")[2])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def variance_and_tau(values: Sequence[int], variances: ArrayLike, taus: ArrayLike, varied: str) -> Figure:
    """Gradient variance (left axis) and Kendall's tau (right axis) of supernets that differ in one setting.

    As in Fig. 1(a) and 5(a) of Lu et al. (see :func:`gradient_variance`).

    Args:
        values: Of the setting, v of them; evenly spaced in the figure.
        variances: Gradient variances, shape (v,).
        taus: Kendall's taus, shape (v,).
        varied: Name of the setting.
    """
    figure = style.new_figure(6, 3.6)
    left = figure.subplots()
    right = left.twinx()
    positions, (one, other) = np.arange(len(values)), style.OTHER_COLOURS[:2]
    left.plot(positions, np.asarray(variances, dtype=np.float64), "o-", color=one, linewidth=1.4)
    right.plot(positions, np.asarray(taus, dtype=np.float64), "s--", color=other, linewidth=1.4)
    style.tidy(left, f"gradient variance and tau by {varied}", varied, "gradient variance (solid)")
    left.set_yscale("log")
    left.set_xticks(positions, [str(value) for value in values])
    right.set_ylabel("Kendall tau (dashed)", fontsize=style.LABEL_SIZE, color=other)
    right.tick_params(labelsize=style.TICK_SIZE)
    right.spines["top"].set_visible(False)
    left.yaxis.label.set_color(one)
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


def similarity_by_distance(distances: Sequence[int], similarities: ArrayLike, title: str) -> Figure:
    """Do paths that differ more have less similar gradients?

    As Jeon et al. (see :func:`learning_rate_by_complexity`, supplement C.6) ask.

    Args:
        distances: Edit distance of every pair of paths, shape (pairs,).
        similarities: Cosine similarity of their gradients, shape (pairs,).
        title: Which pairs.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    x, y = np.asarray(distances), np.asarray(similarities, dtype=np.float64)
    steps = np.unique(x)
    axes.plot(x, y, ".", color=style.NEUTRAL, alpha=0.5, markeredgewidth=0, label="pair")
    means = [y[x == step].mean() for step in steps]
    axes.plot(steps, means, "o-", color=style.OTHER_COLOURS[0], linewidth=1.4, label="mean")
    axes.axhline(0, color=style.NEUTRAL, linewidth=1)
    style.tidy(axes, title, "edit distance", "cosine of the gradients")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def forgetting_over_epochs(epochs: Sequence[int], changes: Sequence[ArrayLike]) -> Figure:
    """What trained paths lose or gain until the end of the epoch: the mean, and a band of one standard deviation.

    After Fig. A14 of Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021).

    Args:
        epochs: Numbers of the epochs, e of them.
        changes: For every epoch the accuracies of its paths at its end minus right after their training, in percent
            points; e arrays of any length.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    of_epochs = [np.asarray(change, dtype=np.float64) for change in changes]
    means = np.array([change.mean() for change in of_epochs])
    spreads = np.array([change.std() for change in of_epochs])
    colour = style.OTHER_COLOURS[1]
    axes.fill_between(epochs, means - spreads, means + spreads, color=colour, alpha=0.2, linewidth=0)
    axes.plot(epochs, means, marker=style.marker(len(epochs)), color=colour, linewidth=1.4)
    axes.axhline(0, color=style.NEUTRAL, linewidth=1)
    style.tidy(axes, "forgetting: below 0 is a loss", "epoch", "change of accuracy (percent points)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def trainability_over_epochs(epochs: Sequence[int], numbers: Sequence[ArrayLike]) -> Figure:
    """Condition numbers of the neural tangent kernels of sampled paths: the median, and a band between the quartiles.

    Args:
        epochs: Numbers of the epochs, e of them.
        numbers: For every epoch log10 of the condition numbers of its paths; e arrays of any length. Infinite ones are
            above every other and leave a gap where the median is one of them.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    of_epochs = [np.asarray(of_epoch, dtype=np.float64) for of_epoch in numbers]
    median = np.array([np.median(found) for found in of_epochs])
    # Not interpolated, which infinite ones would make NaN.
    low = np.array([np.quantile(found, 0.25, method="lower") for found in of_epochs])
    high = np.array([np.quantile(found, 0.75, method="higher") for found in of_epochs])
    colour = style.OTHER_COLOURS[1]
    axes.fill_between(epochs, low, high, where=np.isfinite(high), color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        epochs,
        np.where(np.isfinite(median), median, np.nan),
        marker=style.marker(len(epochs)),
        color=colour,
        linewidth=1.4,
    )
    style.tidy(axes, "trainability: lower is easier to train", "epoch", "log10 of the condition number")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
