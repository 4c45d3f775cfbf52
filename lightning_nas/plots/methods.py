"""Several methods side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lightning_nas.plots import style

DASHES = ("--", ":", "-.")


def tau_of_methods(taus_by_name: Mapping[str, ArrayLike], baselines: Mapping[str, float]) -> Figure:
    """Kendall's tau of every method: the mean over seeds as a bar, every seed as a point.

    Args:
        taus_by_name: For every method its taus, one per seed, shape (seeds,); NaN is left out.
        baselines: What ranks without training, such as parameters; a line each.
    """
    figure = style.new_figure(7, 1.2 + 0.34 * len(taus_by_name))
    axes = figure.subplots()
    for row, taus in enumerate(taus_by_name.values()):
        values = np.asarray(taus, dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            axes.barh(row, values.mean(), height=0.6, color=style.NAMED_COLOURS["density"], alpha=0.35)
        axes.plot(values, np.full(len(values), row), "o", color=style.NAMED_COLOURS["density"], markersize=4)
    for dash, (name, tau) in zip(DASHES, baselines.items(), strict=False):
        axes.axvline(tau, color=style.NEUTRAL, linewidth=1.2, linestyle=dash, label=name)
    axes.axvline(0, color=style.NEUTRAL, linewidth=0.6)
    axes.set_yticks(range(len(taus_by_name)), list(map(style.literal, taus_by_name)))
    axes.invert_yaxis()
    style.tidy(axes, "mean over seeds, and every seed", "Kendall tau", "")
    if baselines:
        axes.legend(fontsize=style.TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
