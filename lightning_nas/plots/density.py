"""Densities of paths: over a training, by representation, and against accuracy.

The density of a path is 1 / (its mean distance to all others), Eq. 5 of Javan Roshtkhari et al., "Debiased
One-shot NAS via Density-aware Sampling".
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lightning_nas.plots import style

Floats = NDArray[np.float64]

NEAREST = 1e-6
"""Smaller distances are those of paths that compute the same, whose density has no bound."""


def densities(mean_distance: ArrayLike) -> Floats:
    """1 / mean distance, of any shape.

    Example:
        >>> densities([0.5, 2.0, 0.0]).tolist()
        [2.0, 0.5, 1000000.0]
    """
    inverse: Floats = 1 / np.maximum(np.asarray(mean_distance, dtype=np.float64), NEAREST)
    return inverse


def density_over_epochs(
    epochs: Sequence[int], mean_distance: ArrayLike, visits: ArrayLike | None = None, bins: int | None = None
) -> Figure:
    """The distribution of densities in the course of a training: a histogram per epoch, and its median.

    After Fig. 4 of Javan Roshtkhari et al., where densities settle after a few epochs.

    Args:
        epochs: Numbers of the epochs at which densities were measured, e of them, at any intervals.
        mean_distance: Mean distance of every path to all others, shape (e, n), or (n,) where densities did not change.
        visits: How often every path was trained since the epoch before, shape (e, n), for the distribution of what
            was trained; None counts every path once.
        bins: Steps of the density axis, which is logarithmic; None takes 2 sqrt(n), at most 40.
    """
    trained = visits is not None
    density = densities(mean_distance)
    weights = np.ones(density.shape) if visits is None else np.asarray(visits, dtype=np.float64)
    density = np.broadcast_to(density, weights.shape)
    bins = bins or min(40, round(2 * np.sqrt(density.shape[1])))
    edges = np.geomspace(density.min() / 1.01, density.max() * 1.01, bins + 1)
    columns = [np.histogram(d, edges, weights=w)[0] / w.sum() for d, w in zip(density, weights, strict=True)]
    shares = 100 * np.stack(columns, axis=1)
    figure = style.new_figure(6.6, 3.8)
    axes = figure.subplots()
    mesh = axes.pcolormesh(
        np.arange(len(epochs) + 1) - 0.5, edges, np.where(shares, shares, np.nan), cmap="viridis"
    )
    medians = [_weighted_median(d, w) for d, w in zip(density, weights, strict=True)]
    axes.plot(range(len(epochs)), medians, ".-", color="#D55E00", linewidth=1.4)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    style.tidy(
        axes,
        f"density of {'trained ' if trained else ''}architectures (line: median)",
        "epoch",
        "density (1 / mean distance)",
    )
    shown = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), 12)).round().astype(int))
    axes.set_xticks(shown, [str(epochs[i]) for i in shown])
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("share of visits (%)" if trained else "share of paths (%)", fontsize=style.LABEL_SIZE)
    bar.ax.tick_params(labelsize=style.TICK_SIZE)
    return figure


def _weighted_median(values: Floats, weights: Floats) -> float:
    """The smallest value that at least half of the weight does not exceed."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def density_vs_accuracy(mean_distance: ArrayLike, accuracies_by_name: Mapping[str, ArrayLike]) -> Figure:
    """Accuracy over density, a panel with Kendall's tau for every kind of accuracy.

    A sampler whose supernet rates dense regions too well has a larger tau than the ground truth.

    Args:
        mean_distance: Mean distance of every path to all others, shape (n,).
        accuracies_by_name: Accuracies in percent, shape (n,), such as the ``ground truth`` and those of supernets.
    """
    density = densities(mean_distance)
    few = len(density) <= style.MAX_POINTS
    figure = style.new_figure(0.6 + 3.3 * len(accuracies_by_name), 3.4)
    panels = figure.subplots(1, len(accuracies_by_name), sharex=True, squeeze=False)[0]
    for axes, (name, colour) in zip(panels, style.colours(accuracies_by_name).items(), strict=True):
        accuracy = np.asarray(accuracies_by_name[name], dtype=np.float64)
        axes.scatter(
            density, accuracy, s=26 if few else 4, alpha=1 if few else 0.4, color=colour, linewidths=0
        )
        tau = stats.kendalltau(density, accuracy).statistic
        style.tidy(axes, f"{name}: tau {tau:+.2f}", "density (1 / mean distance)", "")
        axes.locator_params(nbins=6)
    panels[0].set_ylabel("accuracy (%)", fontsize=style.LABEL_SIZE)
    return figure


def gradient_vs_functional_density(gradient_distance: ArrayLike, functional_distance: ArrayLike) -> Figure:
    """Whether the densities of logits may stand in for those of gradients.

    After Fig. 2 of Javan Roshtkhari et al.

    Args:
        gradient_distance: Mean distance of the gradients of every path to those of all others, shape (n,).
        functional_distance: Mean distance of its logits, shape (n,).
    """
    x, y = densities(gradient_distance), densities(functional_distance)
    few = len(x) <= style.MAX_POINTS
    figure = style.new_figure(4.4, 3.8)
    axes = figure.subplots()
    axes.scatter(
        x, y, s=26 if few else 4, alpha=1 if few else 0.4, color=style.NAMED_COLOURS["density"], linewidths=0
    )
    pearson, spearman = stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic
    title = f"{len(x)} architectures: Pearson {pearson:.2f}, Spearman {spearman:.2f}"
    style.tidy(axes, title, "gradient density", "functional density")
    return figure


def probe_fidelity(
    costs: Mapping[int, float],
    by_size: Mapping[int, float],
    pool_by_age: Mapping[int, float],
    candidate_by_age: Mapping[int, float],
) -> Figure:
    """How well cheap densities rank paths as exact ones do, and what they cost.

    Args:
        costs: For every number of probe images, the time of a forward pass in percent of a training step.
        by_size: For every number of probe images, the rank correlation with densities on many.
        pool_by_age: For every age in steps, the rank correlation with densities of now where candidates and prototypes
            are both as old.
        candidate_by_age: The same where candidates are measured now and prototypes are old.
    """
    figure = style.new_figure(8, 3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot([costs[n] for n in by_size], list(by_size.values()), marker="o", color="#0072B2", linewidth=1.4)
    for number, correlation in by_size.items():
        left.annotate(
            f"{number} images",
            (costs[number], correlation),
            xytext=(5, -11),
            textcoords="offset points",
            fontsize=style.TICK_SIZE,
        )
    left.set_xlim(0, 1.35 * max(costs.values()))
    style.tidy(left, "fewer probe images", "forward pass, % of a training step", "rank correlation")
    right.plot(list(pool_by_age), list(pool_by_age.values()), marker="o", color="#009E73", label="both old")
    right.plot(
        list(candidate_by_age),
        list(candidate_by_age.values()),
        marker="s",
        color="#D55E00",
        label="candidate new, prototypes old",
    )
    right.set_xscale("log")
    right.set_xticks(list(pool_by_age), [str(age) for age in pool_by_age])
    right.minorticks_off()
    style.tidy(right, "older representations", "age of the prototypes (steps)", "")
    right.legend(fontsize=style.TICK_SIZE, frameon=False)
    lowest = min(*by_size.values(), *pool_by_age.values(), *candidate_by_age.values())
    left.set_ylim(min(0.0, lowest - 0.05) if lowest < 0.3 else lowest - 0.1, 1.02)
    return figure
