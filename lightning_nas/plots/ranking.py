"""One-shot scores against ground truth, over accuracies and over density."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from lightning_nas.plots import style
from lightning_nas.plots.sampling import (
    Floats,
    density_groups,
    draw_sampling_frequency,
    group_means,
    tidy_density_axes,
)

ScoresByName = Mapping[str, ArrayLike]

TRUTH_LABEL = "stand-alone accuracy (%)"
SCORE_LABEL = "supernet accuracy (%), mean ± std"


def tau_text(scores: Floats, truth: Floats) -> str:
    """Kendall's tau-b over seeds: mean, standard deviation (of the sample) where there are several, count.

    Args:
        scores: Shape (seeds, n); NaN counts as the worst.
        truth: Shape (n,).

    Example:
        >>> tau_text(np.array([[1.0, 2, 3], [2, 1, 3]]), np.array([1.0, 2, 3]))
        'tau .67 ± .47 (2 seeds)'
    """
    worst = np.where(np.isnan(scores), -np.inf, scores)
    taus = [stats.kendalltau(seed, truth).statistic for seed in worst]
    if len(taus) == 1:
        return f"tau {style.correlation(taus[0])} (1 seed)"
    return f"tau {style.correlation(np.mean(taus))} ± {style.correlation(np.std(taus, ddof=1))} ({len(taus)} seeds)"


def _by_seed(scores: ArrayLike) -> Floats:
    """Scores of shape (seeds, n), also from those of a single seed."""
    return np.atleast_2d(np.asarray(scores, dtype=np.float64))


def draw_score_vs_ground_truth(
    axes: Axes,
    name: str,
    truth: ArrayLike,
    scores: ArrayLike,
    colour: str,
    labels: Sequence[str] | None = None,
) -> None:
    """Draws one sampler's panel of :func:`score_vs_ground_truth` into axes."""
    x, seeds = np.asarray(truth, dtype=np.float64), _by_seed(scores)
    y = seeds.mean(axis=0)
    few = len(x) <= style.MAX_POINTS
    if few and len(seeds) > 1:
        axes.errorbar(
            x, y, yerr=seeds.std(axis=0, ddof=1), fmt="none", ecolor=colour, elinewidth=0.7, alpha=0.5
        )
    axes.scatter(x, y, s=26 if few else 4, alpha=1 if few else 0.4, color=colour, linewidths=0)
    if labels is not None:
        _name_best(axes, x, y, labels)
    axes.locator_params(nbins=6)
    style.tidy(axes, f"{name}: {tau_text(seeds, x)}", TRUTH_LABEL, SCORE_LABEL)


def _name_best(axes: Axes, truth: Floats, scores: Floats, labels: Sequence[str]) -> None:
    """Names the truly best path, below it, where good scores leave room."""
    best = int(truth.argmax())
    axes.annotate(
        textwrap.fill(f"best: {labels[best]}", 30),
        (truth[best], scores[best]),
        xytext=(0, -45),
        textcoords="offset points",
        ha="right",
        fontsize=style.TICK_SIZE,
        arrowprops={"arrowstyle": "->", "color": style.NEUTRAL, "shrinkB": 4},
    )


def score_vs_ground_truth(
    truth: ArrayLike, scores_by_name: ScoresByName, labels: Sequence[str] | None = None
) -> Figure:
    """Supernet accuracy over stand-alone accuracy, one panel per sampler with common axes.

    Args:
        truth: Stand-alone accuracy of every path in percent, shape (n,).
        scores_by_name: For every sampler, the supernet accuracies in percent, shape (seeds, n) or (n,).
            Points are means over seeds, thin bars their standard deviation (up to 60 paths).
        labels: Names of the paths, n of them; where given, the truly best one is named.
    """
    figure = style.new_figure(0.6 + 3.6 * len(scores_by_name), 3.6)
    panels = figure.subplots(1, len(scores_by_name), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, colour) in zip(panels, style.colours(scores_by_name).items(), strict=True):
        draw_score_vs_ground_truth(axes, name, truth, scores_by_name[name], colour, labels)
        axes.label_outer()
    return figure


def standardised(accuracies: ArrayLike) -> Floats:
    """Accuracies of shape (..., n) in standard deviations from their mean over the paths.

    Constant ones become 0; NaN stays NaN and takes no part.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    deviation = values - np.nanmean(values, axis=-1, keepdims=True)
    constant = np.nanmax(values, axis=-1, keepdims=True) == np.nanmin(values, axis=-1, keepdims=True)
    spread = np.where(constant, np.inf, np.nanstd(values, axis=-1, keepdims=True))
    scaled: Floats = deviation / spread
    return scaled


def draw_sorted_by_density(
    axes: Axes,
    mean_distance: ArrayLike,
    truth: ArrayLike,
    scores_by_name: ScoresByName,
    labels: Sequence[str] | None = None,
) -> None:
    """Draws :func:`sorted_by_density` into axes."""
    groups = density_groups(mean_distance)
    positions = np.arange(len(groups))
    curves = {style.GROUND_TRUTH: truth, **scores_by_name}
    for name, colour in style.colours(curves).items():
        seeds = group_means(standardised(_by_seed(curves[name])), groups)
        axes.plot(positions, seeds.mean(axis=0), ".-", color=colour, linewidth=1.4, markersize=5, label=name)
        if len(seeds) > 1:
            axes.fill_between(
                positions, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0
            )
    tidy_density_axes(
        axes, "accuracy by density (bands span all seeds)", "standardised accuracy\n(z-score)", groups, labels
    )
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, ncols=len(curves))


def sorted_by_density(
    mean_distance: ArrayLike,
    truth: ArrayLike,
    scores_by_name: ScoresByName,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Ground truth and supernet accuracies of the paths, sorted from sparse to dense.

    Supernet accuracies lie far below stand-alone ones and vary between seeds as a whole. So each is
    standardised over the paths (mean 0, standard deviation 1), which keeps the shape of a curve and puts all
    on one axis. After Fig. 3 of Javan Roshtkhari et al., "Debiased One-shot NAS via Density-aware Sampling",
    which has accuracies.

    Args:
        mean_distance: Mean distance of every path to all others, shape (n,); small means dense.
        truth: Stand-alone accuracy of every path, shape (n,).
        scores_by_name: For every sampler, the supernet accuracies, shape (seeds, n) or (n,). Curves
            are means over seeds, bands reach from the lowest to the highest seed.
        labels: Names of the paths, n of them.
    """
    figure = style.new_figure(9, 3.8)
    draw_sorted_by_density(figure.subplots(), mean_distance, truth, scores_by_name, labels)
    return figure


def summary(
    mean_distance: ArrayLike,
    truth: ArrayLike,
    scores_by_name: ScoresByName,
    counts_by_name: Mapping[str, ArrayLike],
    labels: Sequence[str] | None = None,
) -> Figure:
    """The whole comparison in one wide figure.

    Left, score over ground truth for every sampler; right, accuracy and below it sampling frequency of the
    paths from sparse to dense. Arguments as in :func:`score_vs_ground_truth`, :func:`sorted_by_density` and
    :func:`lightning_nas.plots.sampling.sampling_frequency`.
    """
    samplers = len(scores_by_name)
    figure = style.new_figure(3 * (samplers + 2), 4.8)
    grid = figure.add_gridspec(2, samplers + 2)
    first: Axes | None = None
    for column, (name, colour) in enumerate(style.colours(scores_by_name).items()):
        axes = figure.add_subplot(grid[:, column], sharex=first, sharey=first)
        draw_score_vs_ground_truth(axes, name, truth, scores_by_name[name], colour, labels)
        axes.label_outer()
        first = first or axes
    by_density = figure.add_subplot(grid[0, samplers:])
    frequency = figure.add_subplot(grid[1, samplers:], sharex=by_density)
    draw_sorted_by_density(by_density, mean_distance, truth, scores_by_name, labels)
    draw_sampling_frequency(frequency, mean_distance, counts_by_name, labels)
    by_density.set_xlabel("")
    by_density.tick_params(labelbottom=False)
    return figure
