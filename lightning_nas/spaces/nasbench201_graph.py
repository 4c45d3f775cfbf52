"""Cells of NAS-Bench-201 as graphs: which edges are alive, and what the output computes."""

from functools import cache
from typing import NamedTuple

from lightning_nas.spaces.base import Path

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, AVG_POOL = range(5)
KERNELS = {CONV_1X1: 1, CONV_3X3: 3}
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target node of every edge. Node 0 is the input of a cell and node 3 its output."""
OUTPUT = 3


class Edge(NamedTuple):
    """An edge of a cell and the operation on it."""

    number: int
    choice: int


@cache
def live_edges(path: Path) -> tuple[Edge, ...]:
    """The edges that carry something from the input to the output; none, where nothing does."""
    alive = [edge for edge, choice in enumerate(path) if choice != NONE]
    fed = {0}
    for edge in alive:  # in the order of the targets
        source, target = EDGES[edge]
        if source in fed:
            fed.add(target)
    read = {OUTPUT}
    for edge in reversed(alive):  # in the reverse order of the targets
        source, target = EDGES[edge]
        if target in read:
            read.add(source)
    return tuple(Edge(edge, path[edge]) for edge in alive if EDGES[edge][0] in fed and EDGES[edge][1] in read)


Expression = tuple[tuple[int, "Expression"], ...]
"""A sum: its terms in ascending order, each an operation applied to a sum, or the input (0, ())."""

INPUT: Expression = ((NONE, ()),)


def expression(path: Path) -> Expression:
    """What the output computes. Dead edges add no term, and a skip adds the terms of its source."""
    nodes: list[Expression] = [INPUT, (), (), ()]
    for (source, target), choice in zip(EDGES, path, strict=True):
        if choice == SKIP:
            nodes[target] += nodes[source]
        elif choice != NONE and nodes[source]:
            nodes[target] += ((choice, tuple(sorted(nodes[source]))),)
    return tuple(sorted(nodes[OUTPUT]))


def published_expression(path: Path) -> str:
    """The text of the output's sum, as the benchmark's authors write it."""
    terms: list[list[str]] = [["0"], [], [], []]
    for (source, target), choice in zip(EDGES, path, strict=True):
        text = "+".join(sorted(terms[source]))
        if choice == NONE or text == "#":
            terms[target].append("#")
        else:
            terms[target].append(text if choice == SKIP else f"({text})@{OPERATIONS[choice]}")
    return "+".join(sorted(terms[OUTPUT]))
