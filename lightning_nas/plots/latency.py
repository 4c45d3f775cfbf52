"""How well a sum of what choices take predicts whole networks."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lightning_nas.plots import style


def predicted_vs_measured(
    measured: ArrayLike, predicted: ArrayLike, held_out: ArrayLike, title: str
) -> Figure:
    """Predicted over measured latencies, with the line on which they would be equal.

    Args:
        measured: In milliseconds, shape (n,).
        predicted: In milliseconds, shape (n,).
        held_out: Which networks the prediction does not come from, shape (n,).
        title: On what was measured.
    """
    x, y, other = np.asarray(measured), np.asarray(predicted), np.asarray(held_out, dtype=bool)
    figure = style.new_figure(5, 4.4)
    axes = figure.subplots()
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color=style.NEUTRAL, linewidth=0.8)
    axes.plot(x[~other], y[~other], ".", color=style.NEUTRAL, markersize=4, alpha=0.5, label="in the table")
    axes.plot(x[other], y[other], "o", color=style.NAMED_COLOURS["density"], markersize=4, label="held out")
    style.tidy(axes, title, "measured latency (ms)", "sum of the table (ms)")
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure
