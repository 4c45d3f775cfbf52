"""A metric of several runs, side by side."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lightning_nas.plots import style

# Colours change first, so that few methods need no dashes.
LOOKS = tuple(
    (colour, dash)
    for dash in ("-", "--", ":", "-.")
    for colour in (
        style.NAMED_COLOURS[style.GROUND_TRUTH],
        style.NAMED_COLOURS["uniform"],
        style.NAMED_COLOURS["density"],
        *style.OTHER_COLOURS,
    )
)
MOST_POINTS = 200
LONG_NAME = 32  # longer ones do not fit twice below a figure

Curve = tuple[ArrayLike, ArrayLike]
"""Steps and values of a run, shape (n,) each."""


def metric_over_steps(
    metric: str, curves_by_method: Mapping[str, Sequence[Curve]], methods: Sequence[str]
) -> Figure:
    """One metric of all runs; runs of one method look alike.

    A curve of more than 200 points is drawn as means of equally many neighbours.

    Args:
        metric: Its name.
        curves_by_method: For every method the curves of its runs, which may differ in length; NaN is left out.
        methods: All methods, in the order that gives each its colour: the same in every figure.
    """
    columns = 1 if max(map(len, curves_by_method)) > LONG_NAME else 2
    rows = -(-len(curves_by_method) // columns)
    figure = style.new_figure(5, 2.6 + 0.2 * rows)
    axes = figure.subplots()
    looks = dict(zip(methods, itertools.cycle(LOOKS), strict=False))
    for method, curves in curves_by_method.items():
        colour, dash = looks[method]
        for number, curve in enumerate(curves):
            steps, values = _thinned(*curve)
            axes.plot(
                steps,
                values,
                dash,
                color=colour,
                marker=style.marker(len(steps)),
                markersize=4,
                linewidth=1.2,
                alpha=0.85,
                label=None if number else style.literal(method),
            )
    style.tidy(axes, style.literal(metric), "step", "")
    figure.legend(loc="outside lower center", ncols=columns, fontsize=style.TICK_SIZE, frameon=False)
    return figure


def _thinned(steps: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    curve = np.array([steps, values], dtype=np.float64)
    curve = curve[:, np.isfinite(curve[1])]
    group = -(-curve.shape[1] // MOST_POINTS) or 1
    starts = np.arange(0, curve.shape[1], group)
    if not len(starts):
        return curve[0], curve[1]
    sums = np.add.reduceat(curve, starts, axis=1)
    means = sums / np.diff(starts, append=curve.shape[1])
    return means[0], means[1]
