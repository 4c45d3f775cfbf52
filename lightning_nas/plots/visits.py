"""Which choices a sampler trained, at every decision and over the epochs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.plots import style

Floats = NDArray[np.float64]

WIDEST = 14.0
"""Inches of the widest heat map; cells shrink so that it is not exceeded."""

PALETTE = (*style.NAMED_COLOURS.values(), *style.OTHER_COLOURS)
LINES = ("-", "--", ":")
MAX_OPERATIONS = len(PALETTE) * len(LINES)
"""More operations than this cannot be told apart as curves."""


def choice_shares(visits: ArrayLike) -> Floats:
    """For every decision the shares of its choices, which sum to 1.

    Args:
        visits: How often every choice was trained, shape (decisions, choices); NaN where a decision has no such
            choice.

    Raises:
        NASError: A count is negative, or a decision has none above 0.

    Example:
        >>> choice_shares([[1, 3, 0], [2, 2, np.nan]]).tolist()
        [[0.25, 0.75, 0.0], [0.5, 0.5, nan]]
    """
    counts = np.asarray(visits, dtype=np.float64)
    totals = np.nansum(counts, axis=1, keepdims=True)
    if (counts < 0).any() or not (totals > 0).all():
        raise NASError("visits of choices must be 0 or more, and not all 0 at a decision.")
    shares: Floats = counts / totals
    return shares


def choice_visits(visits: ArrayLike, names: Sequence[Sequence[str]]) -> Figure:
    """How often every choice was trained, as a heat map: a row per decision, its shares in percent.

    Colours compare with equal shares, 1 / (choices of the decision), which are white; so decisions with different
    numbers of choices have the same colours.

    Args:
        visits: How often every choice was trained, shape (decisions, choices); NaN where a decision has no such
            choice, which stays grey.
        names: For every decision the names of its choices. They stand at the columns where all decisions share them,
            and otherwise in the cells.

    Raises:
        NASError: A count is negative, or a decision has none above 0.
    """
    shares = choice_shares(visits)
    rows, columns = shares.shape
    ratio = shares * np.isfinite(shares).sum(axis=1, keepdims=True)
    deviation = max(0.1, float(np.nanmax(np.abs(ratio - 1))))
    longest = max(names, key=len)
    shared = all(tuple(own) == tuple(longest[: len(own)]) for own in names)
    cell = min(0.9, WIDEST / columns)
    figure = style.new_figure(2.2 + cell * columns, max(1.9, 1.6 + (0.34 if shared else 0.42) * rows))
    axes = figure.subplots()
    image = axes.imshow(ratio, cmap="RdBu_r", vmin=1 - deviation, vmax=1 + deviation, aspect="auto")
    axes.set_facecolor("0.8")
    style.tidy(axes, "visits of every choice: share in %", "choice", "decision")
    axes.grid(visible=False)
    axes.set_xticks(range(columns), longest if shared else map(str, range(columns)))
    if shared and max(map(len, longest)) * 0.075 > cell:
        axes.tick_params("x", rotation=90)
    axes.set_yticks(range(0, rows, -(-rows // 60)))
    if cell >= 0.3:
        _write_shares(axes, shares, image.to_rgba(ratio), None if shared else names)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=20 if rows < 12 else 40)
    bar.ax.set_ylim(max(0, 1 - deviation), 1 + deviation)
    bar.set_label("times equal share", fontsize=style.LABEL_SIZE)
    bar.ax.tick_params(labelsize=style.TICK_SIZE)
    return figure


def _write_shares(axes: Axes, shares: Floats, shades: Floats, names: Sequence[Sequence[str]] | None) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            name = "" if names is None else f"{names[row][column]}\n"
            axes.text(
                column,
                row,
                f"{name}{100 * share:.1f}",
                ha="center",
                va="center",
                fontsize=style.TICK_SIZE - (1 if names is None else 2),
                linespacing=1.3,
                color=style.readable_on(shades[row, column]),
            )


def operations_over_epochs(
    epochs: Sequence[int], probabilities: ArrayLike, names: Sequence[str], title: str
) -> Figure:
    """The probability of every operation, as a sampler set it or as its visits show it.

    Args:
        epochs: Numbers of the epochs, e of them.
        probabilities: Of every operation in every epoch, shape (e, operations).
        names: Names of the operations, at most 21, which curves can tell apart.
        title: What is drawn, such as ``probabilities of PA`` or ``trained operations``.

    Raises:
        NASError: There are more operations.
    """
    if len(names) > MAX_OPERATIONS:
        raise NASError(
            f"{len(names)} operations cannot be told apart as curves: valid are 1 to {MAX_OPERATIONS}"
        )
    figure = style.new_figure(6.6, 3.6)
    axes = figure.subplots()
    for i, (name, curve) in enumerate(zip(names, np.asarray(probabilities, dtype=np.float64).T, strict=True)):
        axes.plot(
            epochs,
            curve,
            linestyle=LINES[i // len(PALETTE)],
            marker=style.marker(len(epochs)),
            color=PALETTE[i % len(PALETTE)],
            linewidth=1.4,
            label=name,
        )
    axes.axhline(1 / len(names), color=style.NEUTRAL, linestyle="-.", linewidth=1, label="equal")
    style.tidy(axes, title, "epoch", "probability")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", fontsize=style.TICK_SIZE, frameon=False)
    return figure
