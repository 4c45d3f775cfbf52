"""NAS-Bench-201: which operation stands on each of the six edges of a cell.

Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020, Sec. 2.1
and released code.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import CellSupernet, ChainSupernet, ParameterSlice

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, AVG_POOL = range(5)
KERNELS = {CONV_1X1: 1, CONV_3X3: 3}
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target node of every edge. Node 0 is the input of a cell and node 3 its output."""
OUTPUT = 3
STAGES = 3


@dataclass(frozen=True)
class NASBench201(SearchSpace):
    """Five operations on each of six edges: 5^6 = 15,625 cells.

    Every node is the sum of its incoming edges. An edge whose source holds nothing, or whose target reaches no
    output, is dead and does not run. (The released networks run it on zeros. Its batch-norm then adds nothing
    in a supernet, where it has no scale and shift, and its shift in a network trained alone.)

    Written as in the benchmark, such as
    ``|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|``.

    Attributes:
        channels: Width of the first stage; each of the two following ones doubles it.
        cells: Cells of every stage.
        num_classes: Outputs: 10, 100 or 120 in the benchmark.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least 4: 32, or 16 for ImageNet16-120 in the benchmark.

    Raises:
        NASError: A size for which no such network exists.

    Example:
        >>> space = NASBench201()
        >>> path = (3, 3, 4, 1, 3, 1)
        >>> space.size, space.cost(path)
        (15625, Cost(params=802426, macs=113951360))
    """

    channels: int = 16
    cells: int = 5
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        self._require_positive("channels", "cells", "num_classes", "in_channels")
        if self.image_size < 4:
            raise NASError(
                f"NASBench201.image_size is {self.image_size}: halving it twice needs at least 4 pixels"
            )

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Five on every edge."""
        return (len(OPERATIONS),) * len(EDGES)

    @property
    def choice_names(self) -> tuple[tuple[str, ...], ...]:
        """The operations."""
        return (OPERATIONS,) * len(EDGES)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage."""
        return tuple(self.channels * 2**stage for stage in range(STAGES))

    def encode(self, path: Path) -> str:
        """For every node its incoming edges, each with its operation and its source."""
        self.require(path)
        nodes = [
            "".join(
                f"|{OPERATIONS[path[edge]]}~{source}"
                for edge, (source, target) in enumerate(EDGES)
                if target == node
            )
            for node in range(1, OUTPUT + 1)
        ]
        return "+".join(f"{edges}|" for edges in nodes)

    def decode(self, text: str) -> Path:
        """The path of a text such as ``encode`` writes.

        Raises:
            NASError: Another form, or an operation that is none of the five.
        """
        nodes = [node.strip("|").split("|") for node in text.split("+")]
        sources = [[edge.rpartition("~")[2] for edge in node] for node in nodes]
        if sources != [["0"], ["0", "1"], ["0", "1", "2"]]:
            raise NASError(
                f"architecture {text!r} does not name the six edges of a cell: valid is "
                f"|op~0|+|op~0|op~1|+|op~0|op~1|op~2| with op one of {', '.join(OPERATIONS)}"
            )
        operations = [edge.rpartition("~")[0] for node in nodes for edge in node]
        for operation, (source, target) in zip(operations, EDGES, strict=True):
            if operation not in OPERATIONS:
                raise NASError(
                    f"architecture {text!r} has {operation!r} on the edge from node {source} to node {target}: valid "
                    f"are {', '.join(OPERATIONS)}"
                )
        path = tuple(map(OPERATIONS.index, operations))
        if self.encode(path) != text:
            raise NASError(f"architecture {text!r} has bars out of place: valid is {self.encode(path)!r}")
        return path

    def canonical(self, path: Path) -> Hashable:
        """Equal if and only if the cells compute the same function, whatever weights they have: 4,930 classes."""
        self.require(path)
        return _expression(path)

    def published_key(self, path: Path) -> str:
        """The text that the benchmark's authors and Ning et al. compare: 6,466 classes.

        (Evaluating Efficient Performance Estimators, NeurIPS 2021.) It sees dead inputs only of node 1 and does not
        look through sums, so it parts 623 exact classes.
        """
        self.require(path)
        return _published_expression(path)

    def functional_key(self, path: Path) -> Hashable:
        """The live edges with their operations: 9,445 different ones."""
        self.require(path)
        return live_edges(path)

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network; dead edges count, as in the benchmark.

        The published FLOPs are larger by ``num_classes``, because they count the biases of the classifier.
        """
        self.require(path)
        total, operations = self._costs
        for choice in path:
            total += operations[choice]
        return total

    @cached_property
    def _costs(self) -> tuple[Cost, tuple[Cost, ...]]:
        """What all paths share, and every operation on an edge of all cells."""
        sizes = [-(-self.image_size // 2**stage) for stage in range(STAGES)]
        first, *_, last = self.widths
        shared = cost.convolution(self.in_channels, first, kernel=3, size=sizes[0]) + cost.batch_norm(first)
        for before, after, size in zip(self.widths, self.widths[1:], sizes[1:], strict=False):
            shared += cost.convolution(before, after, kernel=3, size=size) + cost.batch_norm(after)
            shared += cost.convolution(after, after, kernel=3, size=size) + cost.batch_norm(after)
            shared += cost.convolution(before, after, kernel=1, size=size)
        shared += cost.batch_norm(last) + cost.linear(last, self.num_classes)
        operations = [Cost(0, 0)] * len(OPERATIONS)
        for choice, kernel in KERNELS.items():
            for width, size in zip(self.widths * self.cells, sizes * self.cells, strict=True):
                operations[choice] += cost.convolution(width, width, kernel=kernel, size=size)
                operations[choice] += cost.batch_norm(width)
        return shared, tuple(operations)

    def outline(self, path: Path) -> tuple[Cell, ...]:
        """The cell, without its missing edges."""
        edges = tuple(
            (source, target, OPERATIONS[choice])
            for (source, target), choice in zip(EDGES, path, strict=True)
            if choice != NONE
        )
        return (Cell("cell", ("input", "node 1", "node 2", "output"), edges),)

    def _supernet(self, norm: NormPolicy) -> "NASBench201Supernet":
        return NASBench201Supernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "NASBench201Network":
        return NASBench201Network(self, path, norm)


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


@cache
def _stages(edges: tuple[Edge, ...]) -> tuple[tuple[Edge, ...], ...]:
    """For the stem, every node of the first cell and the rest of the network, the edges that it needs."""
    nodes = range(1, OUTPUT + 1)
    return (
        (),
        *(tuple(edge for edge in edges if EDGES[edge.number][1] == node) for node in nodes),
        edges,
    )


Expression = tuple[tuple[int, "Expression"], ...]
"""A sum: its terms in ascending order, each an operation applied to a sum, or the input (0, ())."""

INPUT: Expression = ((NONE, ()),)


def _expression(path: Path) -> Expression:
    """What the output computes. Dead edges add no term, and a skip adds the terms of its source."""
    nodes: list[Expression] = [INPUT, (), (), ()]
    for (source, target), choice in zip(EDGES, path, strict=True):
        if choice == SKIP:
            nodes[target] += nodes[source]
        elif choice != NONE and nodes[source]:
            nodes[target] += ((choice, tuple(sorted(nodes[source]))),)
    return tuple(sorted(nodes[OUTPUT]))


def _published_expression(path: Path) -> str:
    terms: list[list[str]] = [["0"], [], [], []]
    for (source, target), choice in zip(EDGES, path, strict=True):
        expression = "+".join(sorted(terms[source]))
        if choice == NONE or expression == "#":
            terms[target].append("#")
        else:
            terms[target].append(expression if choice == SKIP else f"({expression})@{OPERATIONS[choice]}")
    return "+".join(sorted(terms[OUTPUT]))


def _operation(choice: int, channels: int, norm: NormPolicy) -> nn.Module:
    if choice == SKIP:
        return nn.Identity()
    if choice == AVG_POOL:
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(nn.ReLU(), conv_norm(channels, channels, KERNELS[choice], norm))


class SearchCell(nn.Module):
    """The operations on the edges of one cell.

    Args:
        channels: Width of its nodes.
        norm: How its batch-norm layers are built.
        choices: For every edge the operations that exist.
    """

    def __init__(self, channels: int, norm: NormPolicy, choices: Iterable[Iterable[int]]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({OPERATIONS[choice]: _operation(choice, channels, norm) for choice in built})
            for built in choices
        )

    def operation(self, edge: int, choice: int) -> nn.Module:
        """The module of an operation; ``none`` has none."""
        return cast(nn.ModuleDict, self.edges[edge])[OPERATIONS[choice]]

    def forward(self, x: Tensor, edges: Sequence[Edge]) -> Tensor:
        """The output of the cell for its input, with only the given edges; zeros, where there are none."""
        nodes: dict[int, Tensor] = {0: x}
        for number, choice in edges:
            source, target = EDGES[number]
            y = self.operation(number, choice)(nodes[source])
            nodes[target] = nodes[target] + y if target in nodes else y
        return nodes[OUTPUT] if OUTPUT in nodes else torch.zeros_like(x)

    def mixture(self, x: Tensor, weights: Sequence[Tensor], edges: Sequence[Edge]) -> Tensor:
        """The output with a weighted sum of operations on every edge; only the given edges run."""
        nodes: dict[int, Tensor] = {0: x}
        for number, choice in edges:
            source, target = EDGES[number]
            if source in nodes:
                y = weights[number][choice] * self.operation(number, choice)(nodes[source])
                nodes[target] = nodes[target] + y if target in nodes else y
        return nodes[OUTPUT] if OUTPUT in nodes else torch.zeros_like(x)


class Reduction(nn.Module):
    """The residual block between two stages, which halves the image and doubles the width."""

    def __init__(self, in_channels: int, out_channels: int, norm: NormPolicy) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.ReLU(), conv_norm(in_channels, out_channels, 3, norm, stride=2))
        self.second = nn.Sequential(nn.ReLU(), conv_norm(out_channels, out_channels, 3, norm))
        self.shortcut = nn.Sequential(
            # Sizes are rounded up, as by the strided convolution.
            nn.AvgPool2d(2, stride=2, ceil_mode=True),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H/2 x W/2."""
        y: Tensor = self.shortcut(x) + self.second(self.first(x))
        return y


def _layers(space: NASBench201, norm: NormPolicy, choices: Sequence[Sequence[int]]) -> nn.ModuleList:
    """Stem, cells and reductions, head: those of the supernet, or with fewer choices those of a path."""
    layers: list[nn.Module] = [conv_norm(space.in_channels, space.channels, 3, norm)]
    for stage, width in enumerate(space.widths):
        if stage:
            layers.append(Reduction(width // 2, width, norm))
        layers += [SearchCell(width, norm, choices) for _ in range(space.cells)]
    last = space.widths[-1]
    head = (norm.layer(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers.append(nn.Sequential(*head, nn.Linear(last, space.num_classes)))
    return nn.ModuleList(layers)


def _run(layers: Iterable[nn.Module], x: Tensor, edges: Sequence[Edge]) -> Tensor:
    for layer in layers:
        x = layer(x, edges) if isinstance(layer, SearchCell) else layer(x)
    return x


class FirstCellNode:
    """A node of the first cell: its value, and what the operations on its outgoing edges made of it so far.

    The first cell of all paths has the same input. So its nodes and edges are what different paths share: the
    tree of all paths runs 444 operations there instead of 49,796.
    """

    def __init__(self, value: Tensor | None) -> None:
        self.value = value
        self._outputs: dict[Edge, Tensor] = {}

    def output(self, cell: SearchCell, edge: Edge) -> Tensor:
        """The output of an edge that leaves this node."""
        if edge not in self._outputs:
            self._outputs[edge] = cell.operation(*edge)(self.value)
        return self._outputs[edge]


class NASBench201Supernet(ChainSupernet, CellSupernet):
    """Weights of their own for every operation on every edge of every cell; all else is shared.

    Stages are the stem, the three nodes of the first cell, and all the rest.
    """

    space: NASBench201

    def __init__(self, space: NASBench201, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.layers = _layers(space, norm, [(SKIP, CONV_1X1, CONV_3X3, AVG_POOL)] * len(EDGES))

    @property
    def cells(self) -> list[SearchCell]:
        """All cells from input to output."""
        return [layer for layer in self.layers if isinstance(layer, SearchCell)]

    @property
    def stage_ends(self) -> list[nn.Module]:
        """The reductions, and the last cell: the first cell, which may end a stage, never runs as a whole."""
        return [layer for layer in self.layers if isinstance(layer, Reduction)] + [self.cells[-1]]

    def activations(self, x: Tensor, path: Path) -> list[Tensor]:
        """What the ends of the stages make of images ``x``: the nodes of its first cell say less."""
        return CellSupernet.activations(self, x, path)

    def stages(self, path: Path) -> Sequence[Hashable]:
        """The stem, the live edges to every node of the first cell, and all live edges."""
        return _stages(live_edges(path))

    def run_stage(self, depth: int, choice: Hashable, x: Any) -> Any:
        """The nodes of the first cell, one more at every stage, and at last the logits; dead edges do not run."""
        stem, cell, *rest = self.layers
        edges = cast(tuple[Edge, ...], choice)
        if depth == 0:
            return (FirstCellNode(stem(x)),)
        if depth <= OUTPUT:
            terms = [x[EDGES[edge.number][0]].output(cast(SearchCell, cell), edge) for edge in edges]
            return (*x, FirstCellNode(reduce(torch.add, terms) if terms else None))
        source, *_, output = x
        y = torch.zeros_like(source.value) if output.value is None else output.value
        return _run(rest, y, edges)

    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits (N x classes) with a weighted sum of operations on every edge (see the base class)."""
        coefficients = torch.stack(list(weights)).tolist()  # waits for the device once
        edges = [
            Edge(number, choice)
            for number, row in enumerate(coefficients)
            for choice, coefficient in enumerate(row)
            if choice != NONE and coefficient
        ]
        for layer in self.layers:
            x = layer.mixture(x, weights, edges) if isinstance(layer, SearchCell) else layer(x)
        return x

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The weights of an operation on an edge, in all cells."""
        if choice == NONE:
            return []
        operations = (cell.operation(decision, choice) for cell in self.cells)
        return [ParameterSlice(parameter) for op in operations for parameter in op.parameters()]

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights of the live edges and the shared ones; without a live edge only those of the head."""
        edges = live_edges(path)
        if not edges:
            return list(self.layers[-1].parameters())
        used: list[nn.Parameter] = []
        for layer in self.layers:
            modules = [layer.operation(*edge) for edge in edges] if isinstance(layer, SearchCell) else [layer]
            used += [parameter for module in modules for parameter in module.parameters()]
        return used


class NASBench201Network(nn.Module):
    """The network of one cell, its weights named as in the supernet. Dead edges have weights, but do not run."""

    def __init__(self, space: NASBench201, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.edges = live_edges(path)
        self.layers = _layers(space, norm, [() if choice == NONE else (choice,) for choice in path])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return _run(self.layers, x, self.edges)
