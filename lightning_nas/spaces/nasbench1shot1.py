"""NAS-Bench-1Shot1, search space 3: the part of NAS-Bench-101 in which weights can be shared.

Zela et al., NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture Search, ICLR 2020, Sec. 3
and released code; Ying et al., NAS-Bench-101, ICML 2019.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Choices, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import CellSupernet, ParameterSlice

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


def _parents(choices: Path) -> Parents:
    chosen = zip(PARENT_SETS.values(), choices, strict=True)
    return ((INPUT,), *(sets[choice] for sets, choice in chosen))


def _uses_all_nodes(choices: Path) -> bool:
    # A node that is somebody's parent reaches the output, because edges point forward.
    return set(NODES) <= set(itertools.chain.from_iterable(_parents(choices)))


ADJACENCIES = tuple(
    filter(_uses_all_nodes, itertools.product(*(range(len(sets)) for sets in PARENT_SETS.values())))
)
"""The choices of parents with which every node reaches the output."""

CHOICES = {_parents(choices): choices for choices in ADJACENCIES}

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


@dataclass(frozen=True)
class NASBench1Shot1(SearchSpace):
    """Cells of five nodes with an operation each: 108,135 networks, 49,032 of them different.

    Nodes 1 to 5 and the output have 1, 1, 1, 2, 2 and 2 parents among the nodes before them and the input, 0.
    Decisions are the parents of nodes 2 to 5 and of the output (numbers of the sets in lexicographic order), then
    the operations of nodes 1 to 5. Of the 5,400 adjacencies those are valid in which every node is used: 445.

    NAS-Bench-101 has no text for a cell; here it is one line with every node's operation and parents, such as
    ``conv3x3-bn-relu(0)|maxpool3x3(1)|conv1x1-bn-relu(2)|conv3x3-bn-relu(0+3)|maxpool3x3(1+4)|output(0+5)``.
    ``from_matrix``, ``to_matrix`` and ``module_hash`` translate to and from the tables of NAS-Bench-101.

    The network is that of the released one-shot code: a stem (3x3 convolution); stacks of cells, the width
    doubled and the image pooled (2x2, padded by a pixel: 32, 17, 9) between stacks; in every cell a 1x1
    projection of its input for every node that reads it; nodes that sum their parents; a cell output that
    concatenates all five nodes, zeros for those that are no parent of the output; a last ReLU and 1x1
    convolution; a classifier. All other convolutions are followed by batch-norm and ReLU. Two things differ: an
    edge from input to output adds the projected input to the concatenation, as in NAS-Bench-101 itself and in
    the released code of Ning et al. (2021), where the one-shot code concatenates it as a sixth block; and
    batch-norm follows the NormPolicy, without the momentum and epsilon of NAS-Bench-101.

    The stand-alone network is the path of the supernet alone. The networks that NAS-Bench-101 trained are
    others: wider (128 channels), pooled without padding, and with the channels divided among the parents of the
    output. Their published parameters are not those of ``cost``.

    Attributes:
        channels: Width of the stem and of the nodes of the first stack.
        stacks: Stacks of cells, the width doubled from each to the next.
        cells_per_stack: Cells of each stack.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side.

    Raises:
        NASError: A number below one.

    Example:
        >>> space = NASBench1Shot1()
        >>> space.size
        108135
        >>> space.encode(space[0])
        'conv3x3-bn-relu(0)|conv3x3-bn-relu(0)|conv3x3-bn-relu(0)|conv3x3-bn-relu(0+1)|conv3x3-bn-relu(2+3)|output(4+5)'
        >>> space.cost(space[0])
        Cost(params=1020794, macs=165152384)
    """

    channels: int = 16
    stacks: int = 3
    cells_per_stack: int = 3
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        self._require_positive(
            "channels", "stacks", "cells_per_stack", "num_classes", "in_channels", "image_size"
        )

    @cached_property
    def shapes(self) -> tuple[CellShape, ...]:
        """The shape of every cell."""
        shapes, before, size = [], self.channels, self.image_size
        for number in range(self.stacks * self.cells_per_stack):
            stack = number // self.cells_per_stack
            pools = stack > 0 and number % self.cells_per_stack == 0
            size = size // 2 + 1 if pools else size
            shapes.append(CellShape(before, self.channels * 2**stack, size, pools))
            before = len(NODES) * shapes[-1].channels
        return tuple(shapes)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Sets of parents for nodes 2 to 5 and the output, operations for nodes 1 to 5."""
        return (*map(len, PARENT_SETS.values()), *(len(OPERATIONS),) * len(NODES))

    # ------------------------------------------------------------------------------- which paths there are

    @cached_property
    def choices(self) -> Choices:
        """The choices that some path takes: node 5 is always a parent of the output, which alone follows it."""
        parents = (tuple(choice for choice, rows in enumerate(taking) if rows) for taking in TAKING)
        return (*parents, *(tuple(range(len(OPERATIONS))),) * len(NODES))

    @property
    def is_product(self) -> bool:
        """False: most combinations of parents leave a node unused."""
        return False

    def count(self, prefix: Path = (), allowed: Choices | None = None) -> int:
        """The number of paths that begin with ``prefix`` and take allowed choices only."""
        allowed = self.choices if allowed is None else allowed
        if len(prefix) > len(allowed) or any(
            choice not in choices for choice, choices in zip(prefix, allowed, strict=False)
        ):
            return 0
        kept = (*((choice,) for choice in prefix), *allowed[len(prefix) :])
        adjacencies = (1 << len(ADJACENCIES)) - 1
        for taking, choices in zip(TAKING, kept, strict=False):
            adjacencies &= sum(taking[choice] for choice in choices)
        return adjacencies.bit_count() * math.prod(map(len, kept[len(TAKING) :]))

    # ----------------------------------------------------------------------------------- texts and matrices

    def encode(self, path: Path) -> str:
        """Operation and parents of every node, such as ``conv3x3-bn-relu(0)|maxpool3x3(1)|...|output(0+5)``."""
        self.require(path)
        choices, operations = _split(path)
        names = (*(OPERATIONS[operation] for operation in operations), "output")
        return "|".join(
            f"{name}({'+'.join(map(str, parents))})"
            for name, parents in zip(names, _parents(choices), strict=True)
        )

    def decode(self, text: str) -> Path:
        """The path of a text such as ``conv3x3-bn-relu(0)|maxpool3x3(1)|...|output(0+5)``.

        Raises:
            NASError: Another number of nodes, another operation or other parents, or a node that is not used.
        """
        parts = text.split("|")
        if len(parts) != len(NODES) + 1:
            raise NASError(
                f"architecture {text!r} has {len(parts)} parts: valid are {len(NODES) + 1}, of nodes 1 to 5 and the "
                "output"
            )
        nodes = [_read_node(text, node, part) for node, part in zip((*NODES, OUTPUT), parts, strict=True)]
        operations, choices = zip(*nodes, strict=True)
        path = (*choices[1:], *operations[:-1])
        if not self.is_valid(path):
            used = set(itertools.chain.from_iterable(_parents(choices[1:])))
            unused = next(node for node in NODES if node not in used)
            raise NASError(
                f"architecture {text!r} does not use node {unused}: valid is one that is a parent of a later node or "
                "of the output"
            )
        return path

    def to_matrix(self, path: Path) -> tuple[NDArray[np.int64], list[str]]:
        """The cell as NAS-Bench-101 has it.

        Returns:
            The adjacency (7 x 7, rows are sources) and the operations of the vertices, ``input`` first and
            ``output`` last.
        """
        self.require(path)
        choices, operations = _split(path)
        matrix = np.zeros((OUTPUT + 1, OUTPUT + 1), dtype=np.int64)
        for node, parents in enumerate(_parents(choices), 1):
            matrix[list(parents), node] = 1
        return matrix, ["input", *(OPERATIONS[operation] for operation in operations), "output"]

    @staticmethod
    def from_matrix(matrix: ArrayLike, operations: Sequence[str]) -> Path:
        """The path of a cell of NAS-Bench-101.

        The vertices may be in any order in which edges point forward; where several orders are paths, it is the
        given one, or else the first.

        Args:
            matrix: The adjacency (7 x 7), rows are sources.
            operations: Those of the vertices, ``input`` first and ``output`` last.

        Raises:
            NASError: No cell of NAS-Bench-101, or one that is not in this space.
        """
        adjacency = _adjacency(matrix, operations)
        if len(operations) != OUTPUT + 1:
            raise NASError(
                f"cell has {len(operations)} vertices: valid are {OUTPUT + 1}, as all five nodes are used"
            )
        parents = tuple(tuple(np.flatnonzero(column).tolist()) for column in adjacency.T[1:])
        numberings = _numberings(parents)
        if not numberings:
            raise NASError(
                f"cell with parents {parents} of nodes 1 to 5 and the output is not in search space 3: valid are "
                "cells whose nodes can be ordered so that these have 1, 1, 1, 2, 2 and 2 parents and all are used"
            )
        order, choices = numberings[0]
        return (*choices, *(OPERATIONS.index(operations[old]) for old in order))

    def module_hash(self, path: Path) -> str:
        """The key of the cell in the tables of NAS-Bench-101."""
        return module_hash(*self.to_matrix(path))

    # -------------------------------------------------------------------------------- which paths are equal

    def canonical(self, path: Path) -> Path:
        """The smallest path whose labelled graph is isomorphic: 49,032 classes.

        With shared weights paths of a class differ, because every node has weights of its own.
        """
        return min(_renumbered(path))

    def class_size(self, path: Path) -> int:
        """The number of different paths that the orders of the nodes give."""
        return len(_renumbered(path))

    def functional_key(self, path: Path) -> tuple[object, ...]:
        """For every parent of the output what it computes from which weights; poolings have none."""
        choices, operations = _split(path)
        *parents, output = _parents(choices)
        states: list[object] = [None]
        for node, operation, sources in zip(NODES, operations, parents, strict=True):
            # The input reaches every node through a projection of its own.
            inputs = frozenset(states[source] if source != INPUT else node for source in sources)
            # Two parents may be equal; then the set has one element, but is not that of a single parent.
            states.append((operation, node if operation in KERNELS else None, len(sources), inputs))
        return tuple((source, states[source]) for source in output)

    def outline(self, path: Path) -> tuple[Cell, ...]:
        """The cell; operations are on its nodes."""
        choices, operations = _split(path)
        names = (
            f"{node} {OPERATIONS[operation].removesuffix('-bn-relu')}"
            for node, operation in zip(NODES, operations, strict=True)
        )
        edges = (
            (source, node, "") for node, sources in enumerate(_parents(choices), 1) for source in sources
        )
        return (Cell("cell", ("input", *names, "output"), tuple(edges)),)

    # --------------------------------------------------------------------------------------- cost, networks

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, projections, by_operation = self._costs
        for node in _projected(path):
            total += projections[node]
        for _, operation in _operating(path):
            total += by_operation[operation]
        return total

    @cached_property
    def _costs(self) -> tuple[Cost, dict[int, Cost], tuple[Cost, ...]]:
        """What all paths share, and in all cells the projection to every node and each operation of a node."""
        last = self.shapes[-1]
        shared = _convolution_cost(self.in_channels, self.channels, 3, self.image_size)
        shared += _convolution_cost(len(NODES) * last.channels, last.channels, 1, last.size)
        shared += cost.linear(last.channels, self.num_classes)
        projections = dict.fromkeys((*NODES, OUTPUT), Cost(0, 0))
        operations = [Cost(0, 0) for _ in OPERATIONS]
        for shape in self.shapes:
            for node in projections:
                projections[node] += _convolution_cost(shape.in_channels, _width(shape, node), 1, shape.size)
            for operation, kernel in KERNELS.items():
                operations[operation] += _convolution_cost(shape.channels, shape.channels, kernel, shape.size)
        return shared, projections, tuple(operations)

    def _supernet(self, norm: NormPolicy) -> "OneShotSupernet":
        return OneShotSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "OneShotNetwork":
        return OneShotNetwork(self, path, norm)


def _split(path: Path) -> tuple[Path, Path]:
    """The choices of parents and the operations."""
    return path[: len(TAKING)], path[len(TAKING) :]


def _projected(path: Path) -> list[int]:
    """The nodes that read the input of the cell."""
    return [node for node, parents in enumerate(_parents(_split(path)[0]), 1) if INPUT in parents]


def _operating(path: Path) -> list[tuple[int, int]]:
    """Nodes and their operations."""
    return list(zip(NODES, _split(path)[1], strict=True))


def _read_node(text: str, node: int, part: str) -> tuple[int, int]:
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
def _numberings(parents: Parents) -> tuple[tuple[Path, Path], ...]:
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


def _renumbered(path: Path) -> set[Path]:
    choices, operations = _split(path)
    return {(*new, *(operations[old - 1] for old in order)) for order, new in _numberings(_parents(choices))}


def _adjacency(matrix: ArrayLike, operations: Sequence[str]) -> NDArray[np.int64]:
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
    adjacency = _adjacency(matrix, operations)
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


# ------------------------------------------------------------------------------------------------------ networks


def _width(shape: CellShape, node: int) -> int:
    """Channels of a node, or of the concatenation."""
    return shape.channels * (len(NODES) if node == OUTPUT else 1)


def _convolution_cost(in_channels: int, out_channels: int, kernel: int, size: int) -> Cost:
    return cost.convolution(in_channels, out_channels, kernel=kernel, size=size) + cost.batch_norm(
        out_channels
    )


def _convolution(in_channels: int, out_channels: int, kernel: int, norm: NormPolicy) -> nn.Module:
    return nn.Sequential(conv_norm(in_channels, out_channels, kernel, norm), nn.ReLU())


def _operation(operation: int, channels: int, norm: NormPolicy) -> nn.Module:
    if operation in KERNELS:
        return _convolution(channels, channels, KERNELS[operation], norm)
    return nn.MaxPool2d(3, stride=1, padding=1)


class OneShotCell(nn.Module):
    """One cell with some of the projections of its input and of the operations of its nodes.

    Args:
        shape: Its place in the network.
        projections: To which nodes its input is projected.
        operations: Node and operation of each.
        norm: Of all batch-norm layers.
    """

    def __init__(
        self,
        shape: CellShape,
        projections: Iterable[int],
        operations: Iterable[tuple[int, int]],
        norm: NormPolicy,
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, stride=2, padding=1) if shape.pools else nn.Identity()
        self.projections = nn.ModuleDict(
            {str(node): _convolution(shape.in_channels, _width(shape, node), 1, norm) for node in projections}
        )
        self.operations = nn.ModuleDict(
            {
                f"{node}_{OPERATIONS[operation]}": _operation(operation, shape.channels, norm)
                for node, operation in operations
            }
        )

    def projection(self, node: int) -> nn.Module:
        """The projection of the input to a node."""
        return self.projections[str(node)]

    def operation(self, node: int, operation: int) -> nn.Module:
        """One operation of a node."""
        return self.operations[f"{node}_{OPERATIONS[operation]}"]

    def forward(self, x: Tensor, nodes: Sequence[Node], output: Sequence[Term]) -> Tensor:
        """The output of the cell for its input ``x``."""
        states = [self.pool(x)]
        for number, node in enumerate(nodes, 1):
            inputs = [self._read(states, number, term) for term in node.parents]
            y = reduce(torch.add, inputs)
            outputs = [
                _scaled(self.operation(number, operation)(y), weight) for operation, weight in node.operations
            ]
            states.append(reduce(torch.add, outputs))
        kept = dict(output)
        blocks = [
            _scaled(state, kept[number]) if number in kept else torch.zeros_like(state)
            for number, state in enumerate(states[1:], 1)
        ]
        y = torch.cat(blocks, dim=1)
        return y + _scaled(self.projection(OUTPUT)(states[0]), kept[0]) if INPUT in kept else y

    def _read(self, states: list[Tensor], node: int, parent: Term) -> Tensor:
        state = states[parent.number]
        return _scaled(self.projection(node)(state) if parent.number == INPUT else state, parent.coefficient)


def _scaled(x: Tensor, coefficient: Tensor | None) -> Tensor:
    return x if coefficient is None else coefficient * x


def _terms(path: Path) -> tuple[list[Node], tuple[Term, ...]]:
    """What the nodes of ``path`` compute, and the parents of its output."""
    choices, operations = _split(path)
    *parents, output = (tuple(map(Term, sources)) for sources in _parents(choices))
    nodes = [Node(terms, (Term(operation),)) for terms, operation in zip(parents, operations, strict=True)]
    return nodes, output


def _stem(space: NASBench1Shot1, norm: NormPolicy) -> nn.Module:
    return _convolution(space.in_channels, space.channels, 3, norm)


def _run_cells(
    cells: Iterable[nn.Module], x: Tensor, nodes: Sequence[Node], output: Sequence[Term]
) -> Tensor:
    for cell in cells:
        x = cell(x, nodes, output)
    return x


def _head(space: NASBench1Shot1, norm: NormPolicy) -> nn.Module:
    channels = space.shapes[-1].channels
    return nn.Sequential(
        nn.ReLU(),
        conv_norm(len(NODES) * channels, channels, 1, norm),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, space.num_classes),
    )


class OneShotSupernet(CellSupernet):
    """Weights of their own for every projection and every operation of each node of every cell.

    They do not depend on the parents of a node, so that paths share more than where operations are on edges.
    """

    space: NASBench1Shot1

    def __init__(self, space: NASBench1Shot1, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        everything = list(itertools.product(NODES, range(len(OPERATIONS))))
        self.stem = _stem(space, norm)
        self.cells = nn.ModuleList(
            OneShotCell(shape, (*NODES, OUTPUT), everything, norm) for shape in space.shapes
        )
        self.head = _head(space, norm)
        for node, sets in PARENT_SETS.items():
            # Which parents are in which set: sets x possible parents.
            members = nn.functional.one_hot(torch.tensor(sets), node).sum(dim=1).float()
            self.register_buffer(f"parents_of_{node}", members, persistent=False)

    @property
    def _cells(self) -> list[OneShotCell]:
        return cast(list[OneShotCell], list(self.cells))

    @property
    def stage_ends(self) -> list[OneShotCell]:
        """The last cell of every stack."""
        length = self.space.cells_per_stack
        return self._cells[length - 1 :: length]

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""
        return self._forward(x, *_terms(path))

    def _forward(self, x: Tensor, nodes: Sequence[Node], output: Sequence[Term]) -> Tensor:
        return cast(Tensor, self.head(_run_cells(self.cells, self.stem(x), nodes, output)))

    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits (N x classes) of a weighted mixture of operations.

        The weight of an edge is the sum of those of the sets of parents that contain it. Weights may mix sets
        that leave a node unused.

        Args:
            x: Images (N x C x H x W).
            weights: One vector per decision, a weight for each of its choices. Choices of weight 0 do not
                run. Where one choice of every decision has weight 1 and the others 0, the mixture is that path.

        Raises:
            NASError: All weights of a decision are 0.
        """
        edges = [
            sets @ self.get_buffer(f"parents_of_{node}")
            for node, sets in zip(PARENT_SETS, weights[: len(TAKING)], strict=True)
        ]
        *parents, output, first, second, third, fourth, fifth = _nonzero([*edges, *weights[len(TAKING) :]])
        nodes = map(Node, ((Term(INPUT),), *parents), (first, second, third, fourth, fifth))
        return self._forward(x, list(nodes), output)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The weights that a path may use because it takes this choice.

        Sets of parents hold the projection of the input to their node if the input is among them; several sets
        share it.
        """
        modules: Iterable[nn.Module] = ()
        if decision >= len(TAKING):
            node = NODES[decision - len(TAKING)]
            modules = (cell.operation(node, choice) for cell in self._cells)
        else:
            node, sets = list(PARENT_SETS.items())[decision]
            if INPUT in sets[choice]:
                modules = (cell.projection(node) for cell in self._cells)
        return [ParameterSlice(parameter) for module in modules for parameter in module.parameters()]

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights that ``path`` uses: stem, head, and its projections and operations."""
        optional = {id(parameter) for parameter in self.cells.parameters()}
        used = {
            id(parameter)
            for cell in self._cells
            for module in (
                *map(cell.projection, _projected(path)),
                *itertools.starmap(cell.operation, _operating(path)),
            )
            for parameter in module.parameters()
        }
        return [p for p in self.parameters() if id(p) in used or id(p) not in optional]


def _nonzero(weights: Sequence[Tensor]) -> list[tuple[Term, ...]]:
    """For every vector the terms whose weight is not 0, found by waiting for the device once."""
    runs = iter(torch.cat(list(weights)).detach().ne(0).tolist())
    terms = [
        tuple(Term(number, weight) for number, weight in enumerate(vector.unbind()) if next(runs))
        for vector in weights
    ]
    for decision, kept in enumerate(terms):
        if not kept:
            raise NASError(f"all weights of decision {decision} are 0: valid is at least one other")
    return terms


class OneShotNetwork(nn.Module):
    """The network of one path, its weights named as in the supernet."""

    def __init__(self, space: NASBench1Shot1, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.nodes, self.output = _terms(path)
        self.stem = _stem(space, norm)
        self.cells = nn.ModuleList(
            OneShotCell(shape, _projected(path), _operating(path), norm) for shape in space.shapes
        )
        self.head = _head(space, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.head(_run_cells(self.cells, self.stem(x), self.nodes, self.output)))
