"""Cells of NAS-Bench-1Shot1 as graphs, and the graphs of NAS-Bench-101."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Path

# In the order of NAS-Bench-101, whose hashes depend on it.
OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
KERNELS = {0: 3, 1: 1}
INPUT, NODES, OUTPUT = 0, (1, 2, 3, 4, 5), 6

Parents = tuple[tuple[int, ...], ...]
"""The parents of nodes 1 to 5 and of the output, in ascending order."""

# Node 1 has no choice: its parent is the input. All others choose among these sets of parents.
PARENT_SETS = {
    node: tuple(itertools.combinations(range(node), number))
    for node, number in ((2, 1), (3, 1), (4, 2), (5, 2), (OUTPUT, 2))
}


def parents_of(choices: Path) -> Parents:
    """The parents that the choices of a path stand for."""
    chosen = zip(PARENT_SETS.values(), choices, strict=True)
    return ((INPUT,), *(sets[choice] for sets, choice in chosen))


def _uses_all_nodes(choices: Path) -> bool:
    # A node that is somebody's parent reaches the output, because edges point forward.
    return set(NODES) <= set(itertools.chain.from_iterable(parents_of(choices)))


ADJACENCIES = tuple(
    filter(_uses_all_nodes, itertools.product(*(range(len(sets)) for sets in PARENT_SETS.values())))
)
"""The choices of parents with which every node reaches the output."""

CHOICES = {parents_of(choices): choices for choices in ADJACENCIES}

# For every decision on parents and each choice the adjacencies that take it: bit i is adjacency i.
TAKING = tuple(
    tuple(
        sum(1 << i for i, choices in enumerate(ADJACENCIES) if choices[decision] == choice)
        for choice in range(number)
    )
    for decision, number in enumerate(map(len, PARENT_SETS.values()))
)


class Term(NamedTuple):
    """A summand: a parent of a node, or one of its operations, weighted unless the coefficient is None."""

    number: int
    coefficient: Tensor | None = None


class Node(NamedTuple):
    """What a node computes: the sum of its operations on the sum of its parents."""

    parents: tuple[Term, ...]
    operations: tuple[Term, ...]


class CellShape(NamedTuple):
    """The place of a cell in the network.

    Attributes:
        in_channels: Channels of its input.
        channels: Channels of every node.
        size: Pixels along a side, after pooling.
        pools: Whether its input is pooled first.
    """

    in_channels: int
    channels: int
    size: int
    pools: bool


def width_of(shape: CellShape, node: int) -> int:
    """Channels of a node, or of the concatenation."""
    return shape.channels * (len(NODES) if node == OUTPUT else 1)


def split_path(path: Path) -> tuple[Path, Path]:
    """The choices of parents and the operations."""
    return path[: len(TAKING)], path[len(TAKING) :]


def projected(path: Path) -> list[int]:
    """The nodes that read the input of the cell."""
    return [node for node, parents in enumerate(parents_of(split_path(path)[0]), 1) if INPUT in parents]


def operating(path: Path) -> list[tuple[int, int]]:
    """Nodes and their operations."""
    return list(zip(NODES, split_path(path)[1], strict=True))


def read_node(text: str, node: int, part: str) -> tuple[int, int]:
    """The operation of a node and its choice of parents; 0 where there is only one."""
    name = f"node {node}" if node != OUTPUT else "output"
    operations = OPERATIONS if node != OUTPUT else ("output",)
    parent_sets = PARENT_SETS.get(node, ((INPUT,),))
    texts = ["+".join(map(str, parents)) for parents in parent_sets]
    match = re.fullmatch(r"(.*)\((.*)\)", part)
    if match is None or match[1] not in operations or match[2] not in texts:
        raise NASError(
            f"architecture {text!r} has {part!r} at {name}: valid are {' and '.join(operations)} of parents "
            f"{', '.join(texts)}, such as {operations[0]}({texts[0]})"
        )
    return operations.index(match[1]), texts.index(match[2])


# --------------------------------------------------------------------------------------- graphs of NAS-Bench-101


@lru_cache(maxsize=len(ADJACENCIES))
def numberings_of(parents: Parents) -> tuple[tuple[Path, Path], ...]:
    """All ways to number the nodes that make ``parents`` an adjacency of the space.

    Returns:
        For every way the nodes in their new order, and the choices of parents; the given order first.
    """
    found = []
    for order in itertools.permutations(NODES):
        numbers = {INPUT: INPUT, **dict(zip(order, NODES, strict=True))}
        renumbered = [
            tuple(sorted(numbers[source] for source in parents[old - 1])) for old in (*order, OUTPUT)
        ]
        if (choices := CHOICES.get(tuple(renumbered))) is not None:
            found.append((order, choices))
    return tuple(found)


def renumbered(path: Path) -> set[Path]:
    """``path`` with its nodes numbered in all ways."""
    choices, operations = split_path(path)
    return {
        (*new, *(operations[old - 1] for old in order)) for order, new in numberings_of(parents_of(choices))
    }


def adjacency_of(matrix: ArrayLike, operations: Sequence[str]) -> NDArray[np.int64]:
    """The matrix of a cell of NAS-Bench-101 (V x V) as an array.

    Raises:
        NASError: No such matrix, or an unknown operation.
    """
    vertices = len(operations)
    adjacency = np.asarray(matrix)
    if (
        adjacency.shape != (vertices, vertices)
        or not np.isin(adjacency, (0, 1)).all()
        or np.tril(adjacency).any()
    ):
        raise NASError(
            f"adjacency is {adjacency.tolist()}: valid for {vertices} operations is an upper triangular matrix of 0 "
            f"and 1, {vertices} x {vertices}"
        )
    if [*operations[:1], *operations[-1:]] != ["input", "output"]:
        raise NASError(f"operations are {list(operations)}: valid is input first and output last")
    for vertex, operation in enumerate(operations[1:-1], 1):
        if operation not in OPERATIONS:
            raise NASError(f"vertex {vertex} has operation {operation!r}: valid are {', '.join(OPERATIONS)}")
    return adjacency.astype(np.int64)


def module_hash(matrix: ArrayLike, operations: Sequence[str]) -> str:
    """The key of a cell in the tables of NAS-Bench-101, equal for isomorphic cells.

    Every vertex hashes its degrees and operation, then as often as there are vertices its neighbours' hashes and
    its own (``hash_module`` of the released code). Vertices that no path from input to output visits must have
    been removed, as they are in the tables.

    Args:
        matrix: The adjacency (V x V, upper triangular), rows are sources.
        operations: Those of the V vertices, ``input`` first and ``output`` last.

    Returns:
        32 hexadecimal digits.

    Raises:
        NASError: No such matrix, or an unknown operation.

    Example:
        >>> module_hash([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "conv3x3-bn-relu", "output"])
        'd32d0b26d534203b48d866facd98cc3e'
    """
    adjacency = adjacency_of(matrix, operations)
    labels = [-1, *(OPERATIONS.index(operation) for operation in operations[1:-1]), -2]
    degrees = zip(adjacency.sum(axis=1).tolist(), adjacency.sum(axis=0).tolist(), labels, strict=True)
    hashes = [_md5(str(vertex)) for vertex in degrees]
    for _ in hashes:
        hashes = [
            _md5(
                "".join(sorted(hashes[i] for i in np.flatnonzero(adjacency[:, vertex])))
                + "|"
                + "".join(sorted(hashes[i] for i in np.flatnonzero(adjacency[vertex])))
                + "|"
                + own
            )
            for vertex, own in enumerate(hashes)
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
