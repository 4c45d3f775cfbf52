"""Cells of DARTS as graphs, and graphs as genotypes."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Path

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
MAX_POOL, AVG_POOL, SKIP = range(3)


class Filter(NamedTuple):
    """A depthwise convolution and a 1x1 convolution, once or twice in a row."""

    kernel: int
    dilation: int
    repeats: int


FILTERS = {3: Filter(3, 1, 2), 4: Filter(5, 1, 2), 5: Filter(3, 2, 1), 6: Filter(5, 2, 1)}

# States of a cell are numbered as in genotypes: 0 and 1 are the outputs of the two cells before it.
NODES = (2, 3, 4, 5)
PAIRS = {node: tuple(itertools.combinations(range(node), 2)) for node in NODES}
EDGES = tuple((source, node) for node in NODES for source in range(node))
PER_CELL = 3 * len(NODES)


class Term(NamedTuple):
    """A summand of a node: an operation on an earlier state, weighted unless the coefficient is None."""

    source: int
    operation: int
    coefficient: Tensor | None = None


Graph = tuple[tuple[Term, ...], ...]
"""What a cell computes: for each of its nodes the summands."""


class CellShape(NamedTuple):
    """The place of a cell in the network.

    Attributes:
        before: Channels of state 0, the output of the last cell but one.
        previous: Channels of state 1, the output of the last cell.
        channels: Channels of every node.
        size: Pixels along a side of the nodes.
        reduction: Whether it is a reduction cell, whose operations on states 0 and 1 have stride 2.
        halves_before: Whether state 0 is twice as large as state 1, as after a reduction cell.
    """

    before: int
    previous: int
    channels: int
    size: int
    reduction: bool
    halves_before: bool


# ------------------------------------------------------------------------------------------------ paths as graphs


def graphs_of(path: Path) -> tuple[Graph, Graph]:
    """What the normal and the reduction cell of ``path`` compute."""
    return _graph(path[:PER_CELL]), _graph(path[PER_CELL:])


def _graph(choices: Path) -> Graph:
    return tuple(
        tuple(map(Term, PAIRS[node][pair], operations))
        for node, (pair, *operations) in zip(NODES, _by_node(choices), strict=True)
    )


def _by_node(choices: Path) -> Iterator[Path]:
    return (choices[start : start + 3] for start in range(0, PER_CELL, 3))


def choices_of(graph: Graph) -> Path:
    """The choices of a cell whose nodes have their inputs in ascending order."""
    return tuple(
        choice
        for node, (first, second) in zip(NODES, graph, strict=True)
        for choice in (
            PAIRS[node].index((first.source, second.source)),
            first.operation,
            second.operation,
        )
    )


def renumbered(graph: Graph) -> set[Graph]:
    """``graph`` with its nodes in every order in which edges point forward."""
    graphs = set()
    for order in itertools.permutations(NODES):
        numbers = {0: 0, 1: 1, **dict(zip(order, NODES, strict=True))}
        forward = all(
            numbers[term.source] < numbers[node]
            for node, terms in zip(NODES, graph, strict=True)
            for term in terms
        )
        if forward:
            graphs.add(
                tuple(
                    tuple(sorted(Term(numbers[source], operation) for source, operation, _ in graph[old - 2]))
                    for old in order
                )
            )
    return graphs


def computed(graph: Graph, *, reduction: bool) -> tuple[object, ...]:
    """What every node computes: its two summands, each an operation, its weights and what it is applied to."""
    states: list[object] = [0, 1]
    for node, terms in zip(NODES, graph, strict=True):
        states.append(
            # Both summands may be equal; the set then has one element, which no other node has.
            frozenset(
                (
                    term.operation,
                    (term.source, node) if _has_weights(term, reduction) else None,
                    states[term.source],
                )
                for term in terms
            )
        )
    return tuple(states[2:])


def _has_weights(term: Term, reduction: bool) -> bool:
    return term.operation != SKIP or stride_of(reduction, term.source) == 2


def stride_of(reduction: bool, source: int) -> int:
    """By how much operations on a state shrink it."""
    return 2 if reduction and source < 2 else 1


# ----------------------------------------------------------------------------------------------------- genotypes

GENOTYPE = re.compile(
    r"Genotype\(normal=\[(.*)\],normal_concat=(.*),reduce=\[(.*)\],reduce_concat=(.*)\)", re.ASCII
)
ENTRY = re.compile(r"\('(\w+)',(\d)\)", re.ASCII)


def read_graph(cell: str, text: str) -> Graph:
    """The cell of entries such as ``('sep_conv_3x3',0),('skip_connect',1)``, two per node."""
    entries = re.findall(r"\(.*?\)", text)
    if ",".join(entries) != text or len(entries) != 2 * len(NODES):
        raise NASError(
            f"genotype has {cell}=[{text}]: valid are {2 * len(NODES)} entries such as ('sep_conv_3x3', 0), two per node"
        )
    return tuple(
        _read_node(
            f"genotype has {entries[i]} and {entries[i + 1]} at node {node} of {cell}",
            node,
            entries[i : i + 2],
        )
        for i, node in zip(range(0, len(entries), 2), NODES, strict=True)
    )


def _read_node(found: str, node: int, entries: Sequence[str]) -> tuple[Term, ...]:
    terms = []
    for entry in entries:
        match = ENTRY.fullmatch(entry)
        if match is None or match[1] not in OPERATIONS:
            raise NASError(
                f"{found}: valid operations are {', '.join(OPERATIONS)}, such as ('sep_conv_3x3', 0)"
            )
        terms.append(Term(int(match[2]), OPERATIONS.index(match[1])))
    first, second = sorted(terms)
    if first.source == second.source or second.source >= node:
        raise NASError(f"{found}: valid are two different inputs from 0 to {node - 1}")
    return first, second
