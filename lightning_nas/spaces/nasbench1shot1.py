"""NAS-Bench-1Shot1, search space 3: the part of NAS-Bench-101 in which weights can be shared.

Zela et al., NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture Search, ICLR 2020, Sec. 3
and released code; Ying et al., NAS-Bench-101, ICML 2019.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Choices, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.nasbench1shot1_graph import (
    ADJACENCIES,
    INPUT,
    KERNELS,
    NODES,
    OPERATIONS,
    OUTPUT,
    PARENT_SETS,
    TAKING,
    CellShape,
    adjacency_of,
    module_hash,
    numberings_of,
    operating,
    parents_of,
    projected,
    read_node,
    renumbered,
    split_path,
    width_of,
)
from lightning_nas.spaces.nasbench1shot1_networks import OneShotNetwork, OneShotSupernet
from lightning_nas.spaces.operations import NormPolicy


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
        choices, operations = split_path(path)
        names = (*(OPERATIONS[operation] for operation in operations), "output")
        return "|".join(
            f"{name}({'+'.join(map(str, parents))})"
            for name, parents in zip(names, parents_of(choices), strict=True)
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
        nodes = [read_node(text, node, part) for node, part in zip((*NODES, OUTPUT), parts, strict=True)]
        operations, choices = zip(*nodes, strict=True)
        path = (*choices[1:], *operations[:-1])
        if not self.is_valid(path):
            used = set(itertools.chain.from_iterable(parents_of(choices[1:])))
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
        choices, operations = split_path(path)
        matrix = np.zeros((OUTPUT + 1, OUTPUT + 1), dtype=np.int64)
        for node, parents in enumerate(parents_of(choices), 1):
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
        adjacency = adjacency_of(matrix, operations)
        if len(operations) != OUTPUT + 1:
            raise NASError(
                f"cell has {len(operations)} vertices: valid are {OUTPUT + 1}, as all five nodes are used"
            )
        parents = tuple(tuple(np.flatnonzero(column).tolist()) for column in adjacency.T[1:])
        numberings = numberings_of(parents)
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
        return min(renumbered(path))

    def class_size(self, path: Path) -> int:
        """The number of different paths that the orders of the nodes give."""
        return len(renumbered(path))

    def functional_key(self, path: Path) -> tuple[object, ...]:
        """For every parent of the output what it computes from which weights; poolings have none."""
        choices, operations = split_path(path)
        *parents, output = parents_of(choices)
        states: list[object] = [None]
        for node, operation, sources in zip(NODES, operations, parents, strict=True):
            # The input reaches every node through a projection of its own.
            inputs = frozenset(states[source] if source != INPUT else node for source in sources)
            # Two parents may be equal; then the set has one element, but is not that of a single parent.
            states.append((operation, node if operation in KERNELS else None, len(sources), inputs))
        return tuple((source, states[source]) for source in output)

    def outline(self, path: Path) -> tuple[Cell, ...]:
        """The cell; operations are on its nodes."""
        choices, operations = split_path(path)
        names = (
            f"{node} {OPERATIONS[operation].removesuffix('-bn-relu')}"
            for node, operation in zip(NODES, operations, strict=True)
        )
        edges = (
            (source, node, "") for node, sources in enumerate(parents_of(choices), 1) for source in sources
        )
        return (Cell("cell", ("input", *names, "output"), tuple(edges)),)

    # --------------------------------------------------------------------------------------- cost, networks

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, projections, by_operation = self._costs
        for node in projected(path):
            total += projections[node]
        for _, operation in operating(path):
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
                projections[node] += _convolution_cost(
                    shape.in_channels, width_of(shape, node), 1, shape.size
                )
            for operation, kernel in KERNELS.items():
                operations[operation] += _convolution_cost(shape.channels, shape.channels, kernel, shape.size)
        return shared, projections, tuple(operations)

    def _supernet(self, norm: NormPolicy) -> OneShotSupernet:
        return OneShotSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> OneShotNetwork:
        return OneShotNetwork(self, path, norm)


def _convolution_cost(in_channels: int, out_channels: int, kernel: int, size: int) -> Cost:
    return cost.convolution(in_channels, out_channels, kernel=kernel, size=size) + cost.batch_norm(
        out_channels
    )
