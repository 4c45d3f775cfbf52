"""What all figures share: colours, font sizes, and how a figure becomes a file.

Figures are made without pyplot and its global state: so they need no display and may be drawn in threads.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lightning_nas.files import written_whole

GROUND_TRUTH = "ground truth"

# Okabe and Ito's colours, which people with any colour vision can tell apart.
NAMED_COLOURS = {"uniform": "#E69F00", "density": "#009E73", GROUND_TRUTH: "#0072B2"}
OTHER_COLOURS = ("#CC79A7", "#D55E00", "#56B4E9", "#000000")
NEUTRAL = "0.45"

TITLE_SIZE = 10
LABEL_SIZE = 10
TICK_SIZE = 8
DPI = 150

# More points than this on one axis cannot be told apart.
MAX_POINTS = 60


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for every name.

    Uniform and density sampling and the ground truth have their own. The others share the rest in
    alphabetical order, so the same set of names has the same colours in every figure.

    Example:
        >>> colours(["uniform", "fair"])
        {'uniform': '#E69F00', 'fair': '#CC79A7'}
    """
    names = list(names)
    others = sorted(set(names) - set(NAMED_COLOURS))
    cycle = {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(others)}
    return {name: NAMED_COLOURS.get(name) or cycle[name] for name in names}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches that keeps its parts from overlapping."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Gives axes their texts in the common sizes, a light grid, and no frame at the top and right."""
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.set_xlabel(x_label, fontsize=LABEL_SIZE)
    axes.set_ylabel(y_label, fontsize=LABEL_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)  # logarithmic axes name minor ticks too
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def marker(points: int) -> str:
    """The mark of every point of a curve, where so many can be told apart."""
    return "." if points <= MAX_POINTS else ""


def readable_on(shade: ArrayLike) -> str:
    """Black or white, whichever can be read on a colour given as red, green, blue (0 to 1)."""
    red, green, blue = np.asarray(shade, dtype=np.float64)[:3]
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def literal(text: str) -> str:
    r"""Text of users, in which a dollar is no mathematics.

    Example:
        >>> print(literal("5 $ or 6 $"))
        5 \$ or 6 \$
    """
    return text.replace("$", r"\$")


def correlation(value: float) -> str:
    """Two decimals without the leading zero, as correlations are printed.

    Example:
        >>> correlation(0.5), correlation(-0.123), correlation(1)
        ('.50', '-.12', '1.00')
    """
    return f"{value:z.2f}".replace("0.", ".", 1)


def save(figure: Figure, path: Path, data: Mapping[str, Iterable[object]] | None = None) -> None:
    """Writes the figure whole or not at all, at 150 dots per inch, and beside it what it shows.

    Args:
        figure: Any figure of this package.
        path: The file, usually ``.png``; its suffix is the format, and its folder is created.
        data: Columns of equal length by name, for a CSV file of the same name; None writes none.
    """
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    if data is not None:
        save_table(path.with_suffix(".csv"), data)


def save_table(path: Path, columns: Mapping[str, Iterable[object]]) -> None:
    """Writes a CSV file whole or not at all.

    Args:
        path: The file; its folder is created.
        columns: Columns of equal length by name.
    """
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
