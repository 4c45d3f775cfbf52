"""How often a sampler trained every path."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.plots import style

Floats = NDArray[np.float64]


def density_groups(mean_distance: ArrayLike) -> list[NDArray[np.intp]]:
    """Paths from sparse to dense, as the points of a density axis.

    Args:
        mean_distance: Mean distance of every path to all others, shape (n,). Density is its inverse, so the
            path with the largest comes first (ties: the lower index first).

    Returns:
        Indices of the paths of every point: one path each, or where there are more than 60 paths, 60 groups
        of neighbours in the order.

    Example:
        >>> [group.tolist() for group in density_groups([0.1, 0.5, 0.3])]
        [[1], [2], [0]]
    """
    order = np.argsort(-np.asarray(mean_distance, dtype=np.float64), kind="stable")
    return np.array_split(order, min(len(order), style.MAX_POINTS))


def group_means(values: ArrayLike, groups: Sequence[NDArray[np.intp]]) -> Floats:
    """Means over every group: from values of shape (..., n) to shape (..., number of groups)."""
    values = np.asarray(values, dtype=np.float64)
    return np.stack([values[..., group].mean(axis=-1) for group in groups], axis=-1)


def tidy_density_axes(
    axes: Axes, title: str, y_label: str, groups: Sequence[NDArray[np.intp]], labels: Sequence[str] | None
) -> None:
    """Texts of axes over density; the paths are named at the ticks where they have names and stand alone."""
    single = len(groups[0]) == 1
    x_label = "architectures from sparse to dense" + ("" if single else f", means of {len(groups)} groups")
    style.tidy(axes, title, x_label, y_label)
    names = [labels[group[0]] for group in groups] if single and labels is not None else []
    # 300 points is the width of the narrowest axes, so upright names do not run into each other.
    size = min(style.TICK_SIZE, 300 / len(groups))
    axes.set_xticks(range(len(names)), names, rotation=90, fontfamily="monospace", fontsize=size)
    axes.set_xlim(-0.7, len(groups) - 0.3)


def frequencies(counts: ArrayLike) -> Floats:
    """Shares that sum to 1, from probabilities or from counts; shape (n,).

    Raises:
        NASError: A value is negative or not finite, or all are 0.
    """
    values = np.asarray(counts, dtype=np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise NASError("probabilities or counts of paths must be finite, 0 or more, and not all 0.")
    shares: Floats = values / values.sum()
    return shares


def effective_size(shares: Floats) -> float:
    """Kish's effective sample size, 1 / sum of squared shares: from 1 (one path only) to n (all alike)."""
    return float(1 / np.square(shares).sum())


def draw_sampling_frequency(
    axes: Axes,
    mean_distance: ArrayLike,
    counts_by_name: Mapping[str, ArrayLike],
    labels: Sequence[str] | None = None,
) -> None:
    """Draws :func:`sampling_frequency` into axes."""
    groups = density_groups(mean_distance)
    n = sum(map(len, groups))
    for name, colour in style.colours(counts_by_name).items():
        shares = frequencies(counts_by_name[name])
        axes.stairs(
            100 * group_means(shares, groups),
            np.arange(len(groups) + 1) - 0.5,
            baseline=None,
            color=colour,
            linewidth=1.6,
            label=f"{name} (effective size {effective_size(shares):.1f} of {n})",
        )
    axes.axhline(100 / n, color=style.NEUTRAL, linestyle="--", linewidth=1, label=f"equal shares: 1/{n}")
    axes.set_ylim(bottom=0)
    tidy_density_axes(axes, "sampling frequency", "share of steps (%)", groups, labels)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)


def sampling_frequency(
    mean_distance: ArrayLike, counts_by_name: Mapping[str, ArrayLike], labels: Sequence[str] | None = None
) -> Figure:
    """How often every path is trained, paths sorted from sparse to dense.

    Args:
        mean_distance: Mean distance of every path to all others, shape (n,); small means dense.
        counts_by_name: For every sampler, how often it drew each path or its probability to, shape (n,); only
            the proportions count.
        labels: Names of the paths, n of them.

    Returns:
        One step curve per sampler in percent of all draws, with its effective sample size
        (ESS = 1 / sum of squared shares; n where all paths are drawn alike).

    Raises:
        NASError: Counts are negative, not finite, or all 0.
    """
    figure = style.new_figure(9, 3.6)
    draw_sampling_frequency(figure.subplots(), mean_distance, counts_by_name, labels)
    return figure
