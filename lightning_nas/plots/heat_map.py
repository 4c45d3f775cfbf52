"""Tables as colours, with the numbers on top."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from lightning_nas.plots import style

UNKNOWN = "0.9"


def draw_heat_map(
    axes: Axes,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: ArrayLike,
    colours: str,
    bounds: tuple[float, float],
    text: Callable[[float], str],
) -> AxesImage:
    """Draws a table into axes; cells that are not finite stay grey and without a number.

    Args:
        axes: Where.
        title: Of the axes.
        rows: Names of the rows, n of them.
        columns: Names of the columns, m of them.
        values: Shape (n, m).
        colours: Name of a colour map of matplotlib.
        bounds: The values of its first and its last colour.
        text: What is written for a value.
    """
    table = np.asarray(values, dtype=np.float64)
    table = np.where(np.isfinite(table), table, np.nan)
    image = axes.imshow(table, cmap=colours, vmin=bounds[0], vmax=bounds[1])
    shades = image.to_rgba(table)
    axes.set_facecolor(UNKNOWN)
    axes.set_title(title, fontsize=style.TITLE_SIZE)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=style.TICK_SIZE)
    axes.set_yticks(range(len(rows)), rows, fontsize=style.TICK_SIZE)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            axes.text(
                column,
                row,
                text(float(value)),
                ha="center",
                va="center",
                fontsize=style.TICK_SIZE - 1,
                color=style.readable_on(shades[row, column]),
            )
    return image
