"""Draws ``concepts.png``, the picture of ``docs/concepts.md``: from a search space to a trained network.

Run it from the root of the repository: ``.venv/bin/python docs/draw_concepts.py``.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

PATH = (0, 2, 1, 0)
"""The path that is drawn everywhere: one of three choices at each of four decisions."""
CHOICES = 3

INK, GREY, PALE, ACCENT = "#333333", "#999999", "#F4F4F2", "#0072B2"

WIDTH, HEIGHT = 3.2, 3.0
COLUMNS = (0.0, 4.3, 8.6, 12.9)
ROWS = (4.6, 0.0)


def stage(axes: Axes, column: int, row: int, title: str, text: str) -> tuple[float, float]:
    """A box with a title above and a sentence at its foot; returns the middle of the room between them."""
    x, y = COLUMNS[column], ROWS[row]
    box = FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.12", facecolor=PALE, edgecolor=GREY)
    axes.add_patch(box)
    axes.text(x + WIDTH / 2, y + HEIGHT + 0.3, title, ha="center", fontsize=12, weight="bold", color=INK)
    axes.text(x + WIDTH / 2, y + 0.05, text, ha="center", va="bottom", fontsize=8.5, color=INK)
    return x + WIDTH / 2, y + HEIGHT / 2 + 0.35


def network(axes: Axes, x: float, y: float, shown: str) -> None:
    """Choices as squares, a column for every decision; ``shown`` is ``all`` of them, ``path`` or ``alone``."""
    size, gap = 0.34, 0.62
    left = x - gap * (len(PATH) - 1) / 2
    bottom = y - gap * (CHOICES - 1) / 2
    for decision, chosen in enumerate(PATH):
        for choice in range(CHOICES):
            on = choice == chosen and shown != "all"
            if shown == "alone" and not on:
                continue
            row = 1 if shown == "alone" else choice
            corner = (left + decision * gap - size / 2, bottom + row * gap - size / 2)
            colour = ACCENT if on else "white"
            axes.add_patch(Rectangle(corner, size, size, facecolor=colour, edgecolor=GREY, zorder=2))
    if shown != "all":
        rows = [1 if shown == "alone" else choice for choice in PATH]
        xs = [left - gap, *(left + i * gap for i in range(len(PATH))), left + gap * len(PATH)]
        ys = [bottom + row * gap for row in (rows[0], *rows, rows[-1])]
        axes.plot(xs, ys, color=ACCENT, linewidth=1.6, zorder=1)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """An arrow with a word above its middle."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=INK))
    axes.text(
        (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.14, text, ha="center", fontsize=8.5, color=INK
    )


def lines(axes: Axes, x: float, y: float, rows: list[str]) -> None:
    """Rows of text of equal width, the first in the colour of the path."""
    for number, row in enumerate(rows):
        colour = ACCENT if number == 0 else INK
        height = y + 0.42 * (len(rows) - 1) / 2 - 0.42 * number
        axes.text(x, height, row, ha="center", va="center", fontsize=9.5, family="monospace", color=colour)


def draw() -> Figure:
    """The whole picture."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")

    x, y = stage(axes, 0, 0, "Space", "every architecture is a path:\na choice at every decision")
    lines(axes, x, y, ["0-2-1-0", "2-0-1-1", "1-1-0-2", "..."])
    x, y = stage(axes, 1, 0, "Supernet", "one set of weights\nfor all choices")
    network(axes, x, y, "all")
    x, y = stage(axes, 2, 0, "Training step", "forward and backward\nthrough the sampled path alone")
    network(axes, x, y, "path")
    x, y = stage(axes, 3, 0, "Sampler", "uniform, fair, density-aware, ...")
    lines(axes, x, y, ["p(0-2-1-0)", "p(2-0-1-1)", "p(1-1-0-2)", "..."])

    x, y = stage(axes, 3, 1, "Evaluation", "paths scored on held-out\nimages, with shared weights")
    lines(axes, x, y, ["0-2-1-0  71 %", "2-0-1-1  64 %", "1-1-0-2  69 %"])
    x, y = stage(axes, 2, 1, "Ranking", "Kendall's tau, bias, ...\nagainst ground truth")
    points = [(-0.9, -0.6), (-0.5, -0.2), (-0.1, -0.45), (0.3, 0.3), (0.65, 0.05), (0.95, 0.65)]
    for number, (dx, dy) in enumerate(points):
        axes.plot(x + dx, y + dy, "o", markersize=5, color=ACCENT if number == 5 else GREY)
    axes.plot([x - 1.2, x - 1.2, x + 1.25], [y + 0.9, y - 0.8, y - 0.8], color=GREY, linewidth=1)
    x, y = stage(axes, 1, 1, "Search", "the best path under limits on\nMACs, parameters, latency")
    lines(axes, x, y, ["0-2-1-0", "of all paths", "below the limit"])
    x, y = stage(axes, 0, 1, "Retraining", "the winner with weights\nof its own; then exported")
    network(axes, x, y, "alone")

    middle = [row + HEIGHT / 2 for row in ROWS]
    right = [column + WIDTH + 0.15 for column in COLUMNS]
    left = [column - 0.15 for column in COLUMNS]
    arrow(axes, (right[0], middle[0]), (left[1], middle[0]), "build")
    arrow(axes, (right[1], middle[0]), (left[2], middle[0]), "train")
    arrow(axes, (left[3], middle[0] + 0.5), (right[2], middle[0] + 0.5), "choose")
    arrow(axes, (right[2], middle[0] - 0.6), (left[3], middle[0] - 0.6), "tell")
    start = (COLUMNS[2] + WIDTH / 2 + 0.6, ROWS[0] - 0.15)
    arrow(axes, start, (COLUMNS[3] + 0.4, HEIGHT + ROWS[1] + 0.75), "")
    axes.text(start[0] + 0.35, start[1] - 0.28, "validate", fontsize=8.5, color=INK, ha="right")
    for number, word in ((3, "rank"), (2, "search"), (1, "retrain")):
        arrow(axes, (left[number], middle[1]), (right[number - 1], middle[1]), word)
    axes.set_xlim(-0.4, COLUMNS[3] + WIDTH + 0.4)
    axes.set_ylim(-0.4, ROWS[0] + HEIGHT + 0.8)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_name("concepts.png"), dpi=130)
