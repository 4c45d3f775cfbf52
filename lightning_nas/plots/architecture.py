"""What an architecture looks like: cells as graphs, chains of layers as rows."""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from lightning_nas.plots import style

# Light enough for black text; the same operation has the same colour everywhere in a figure.
FILLS = ("#CDE4F5", "#FCE3B6", "#C9EBDD", "#F3D3E3", "#E3DDF3", "#FFF2A8", "#E4E4E4", "#F6CFC0")
PLAIN = "#FFFFFF"
BOX_WIDTH, BOX_HEIGHT, GAP = 1.05, 0.42, 0.16  # inches
MAX_PER_LINE = 8
NODE_WIDTH, NODE_DISTANCE, LANE_HEIGHT = 0.7, 1.95, 0.36  # inches

Edge = tuple[int, int, str]


class _Arc(NamedTuple):
    """An edge of a cell drawn around the nodes in between: ``height`` is signed, in inches."""

    edge: Edge
    height: float


class Sketch(NamedTuple):
    """A drawing of one architecture that has no place yet.

    Attributes:
        width: Inches.
        height: Inches.
        labels: What its layers, or the edges of its cells, are called.
        draw: Draws it into axes whose unit is an inch, with the given colour of every label.
    """

    width: float
    height: float
    labels: frozenset[str]
    draw: Callable[[Axes, Mapping[str, str]], None]


def drawn(sketch: Sketch, title: str) -> Figure:
    """A figure of one architecture."""
    figure = style.new_figure(max(sketch.width, 0.075 * len(title)) + 0.2, sketch.height + 0.5)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=style.TITLE_SIZE)
    draw_sketch(axes, sketch, fills_of([sketch]))
    return figure


def chain(rows: Sequence[tuple[str, Sequence[str]]]) -> Sketch:
    """A network whose layers follow each other, a row per stage.

    Args:
        rows: For every stage its name and the labels of its layers in the order in which they run.
    """
    # Stages without a layer of their own (two halvings at once) still have a line.
    stages = [(name, _lines(labels)) for name, labels in rows]
    lines = [(name if i == 0 else "", line) for name, parts in stages for i, line in enumerate(parts)]
    name_width = 0.4 + 0.075 * max(len(name) for name, _ in rows)

    def draw(axes: Axes, fills: Mapping[str, str]) -> None:
        for number, (name, line) in enumerate(lines):
            y = (len(lines) - 1 - number) * (BOX_HEIGHT + 2 * GAP) + GAP + BOX_HEIGHT / 2
            axes.text(0.1, y, name, va="center", fontsize=style.TICK_SIZE)
            for column, label in enumerate(line):
                x = name_width + column * (BOX_WIDTH + GAP)
                _box(axes, x + BOX_WIDTH / 2, y, BOX_WIDTH, label, fills[label])
                if column or not name:  # also from the end of the line before
                    _arrow(axes, (x - GAP, y), (x, y))

    return Sketch(
        width=name_width + max(len(line) for _, line in lines) * (BOX_WIDTH + GAP) + GAP,
        height=len(lines) * (BOX_HEIGHT + 2 * GAP) + GAP,
        labels=frozenset(label for _, labels in rows for label in labels),
        draw=draw,
    )


def cells(graphs: Sequence[tuple[str, Sequence[str], Sequence[Edge]]]) -> Sketch:
    """The small graphs of which a network consists, one below the other.

    Args:
        graphs: For every cell its name, the names of its nodes, and its edges: source and target by position (the
            source comes first) and the label.
    """
    drawn = [_arcs(edges) for _, _, edges in graphs]
    bounds = [_vertical_bounds(arcs) for arcs in drawn]
    height = sum(top - bottom for bottom, top in bounds)

    def draw(axes: Axes, fills: Mapping[str, str]) -> None:
        y = height
        for (name, nodes, edges), arcs, (bottom, top) in zip(graphs, drawn, bounds, strict=True):
            y -= top
            axes.text(0.1, y + top - 0.2, name, va="center", fontsize=style.LABEL_SIZE, fontweight="bold")
            _cell(axes, y, nodes, edges, arcs, fills)
            y += bottom

    return Sketch(
        width=max((len(nodes) - 1) * NODE_DISTANCE for _, nodes, _ in graphs) + 2 * NODE_WIDTH,
        height=height,
        labels=frozenset(label for _, _, edges in graphs for *_, label in edges if label),
        draw=draw,
    )


def fills_of(sketches: Iterable[Sketch]) -> dict[str, str]:
    """A colour for every label of drawings that stand in one figure."""
    labels = {label for sketch in sketches for label in sketch.labels}
    return {label: FILLS[i % len(FILLS)] for i, label in enumerate(sorted(labels))}


def draw_sketch(axes: Axes, sketch: Sketch, fills: Mapping[str, str], scale: float = 1.0) -> None:
    """Draws a sketch into axes, whose unit becomes the inch and which lose their frame.

    Args:
        axes: Where.
        sketch: What.
        fills: The colour of every label.
        scale: What an inch of the sketch measures in the figure, in inches.
    """
    axes.set_xlim(0, sketch.width)
    axes.set_ylim(0, sketch.height)
    axes.set_aspect("equal")
    axes.axis("off")
    sketch.draw(axes, fills)
    # Texts and heads of arrows know nothing of the unit of the axes.
    for text in axes.texts:
        text.set_fontsize(scale * float(text.get_fontsize()))
    for patch in axes.patches:
        if isinstance(patch, FancyArrowPatch):
            patch.set_mutation_scale(scale * patch.get_mutation_scale())


def _lines(labels: Sequence[str]) -> list[Sequence[str]]:
    return [labels[i : i + MAX_PER_LINE] for i in range(0, max(len(labels), 1), MAX_PER_LINE)]


def _cell(
    axes: Axes,
    y: float,
    nodes: Sequence[str],
    edges: Sequence[Edge],
    arcs: Sequence[_Arc],
    fills: Mapping[str, str],
) -> None:
    places = [NODE_WIDTH + i * NODE_DISTANCE for i in range(len(nodes))]
    half = NODE_WIDTH / 2
    for source, target, label in edges:
        if target == source + 1:
            _arrow(axes, (places[source] + half, y), (places[target] - half, y))
            _tag(axes, (places[source] + places[target]) / 2, y, label, fills)
    for (source, target, label), height in arcs:
        start, end = places[source] + 0.2, places[target] - 0.2
        foot = y + (BOX_HEIGHT / 2 if height > 0 else -BOX_HEIGHT / 2)
        # A Bezier curve reaches three quarters of the height of its control points.
        control = foot + (y + height - foot) * 4 / 3
        curve = Curve(
            [(start, foot), (start + 0.15, control), (end - 0.15, control), (end, foot)],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        axes.add_patch(
            FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=9, color=style.NEUTRAL, zorder=1)
        )
        _tag(axes, (start + end) / 2, y + height, label, fills)
    for place, name in zip(places, nodes, strict=True):
        _box(axes, place, y, NODE_WIDTH, name, PLAIN)


def _arcs(edges: Sequence[Edge]) -> list[_Arc]:
    """The edges that skip nodes, each in a lane above or below where it meets no other label."""
    lanes: dict[int, list[tuple[int, int]]] = {}
    arcs = []
    for source, target, label in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        if target - source < 2:
            continue
        lane = next(
            lane
            for lane in _outward()
            if all(target <= start or end <= source for start, end in lanes.get(lane, ()))
        )
        lanes.setdefault(lane, []).append((source, target))
        side = 1 if lane > 0 else -1
        arcs.append(_Arc((source, target, label), side * (BOX_HEIGHT / 2 + LANE_HEIGHT * abs(lane))))
    return arcs


def _outward() -> itertools.chain[int]:
    """Lanes from the nodes outward: 1, -1, 2, -2 and so on."""
    return itertools.chain.from_iterable((lane, -lane) for lane in itertools.count(1))


def _vertical_bounds(arcs: Sequence[_Arc]) -> tuple[float, float]:
    """How far a cell reaches below and above its nodes, its name included, in inches."""
    heights = [height for _, height in arcs]
    margin = 0.25
    bottom, top = min([-BOX_HEIGHT / 2, *heights]), max([BOX_HEIGHT / 2, *heights])
    return bottom - margin, top + margin + 0.2


def _box(axes: Axes, x: float, y: float, width: float, text: str, fill: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - BOX_HEIGHT / 2),
            width,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=fill,
            edgecolor="black",
            linewidth=0.8,
            zorder=2,
        )
    )
    # A letter is about 0.6 of its size wide; what is still too long for a line is set smaller.
    room = 0.92 * width * 72 / 0.6
    letters = int(room / style.TICK_SIZE)
    lines = (textwrap.fill(line, letters, break_long_words=False) for line in text.split("\n"))
    text = "\n".join(lines)
    size = min(style.TICK_SIZE, room / max(map(len, text.split("\n"))))
    axes.text(x, y, text, ha="center", va="center", fontsize=size, zorder=3)


def _tag(axes: Axes, x: float, y: float, text: str, fills: Mapping[str, str]) -> None:
    """The label of an edge, on top of it."""
    if text:
        frame = {"boxstyle": "round,pad=0.2", "facecolor": fills[text], "edgecolor": "none"}
        axes.text(x, y, text, ha="center", va="center", fontsize=style.TICK_SIZE - 1, bbox=frame, zorder=4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
            color=style.NEUTRAL,
            zorder=1,
        )
    )
