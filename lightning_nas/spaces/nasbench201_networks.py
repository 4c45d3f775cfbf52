"""The networks of NAS-Bench-201: the supernet, and a path alone."""

from collections.abc import Hashable, Iterable, Sequence
from functools import cache, reduce
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lightning_nas.spaces.base import Path
from lightning_nas.spaces.nasbench201_graph import (
    AVG_POOL,
    CONV_1X1,
    CONV_3X3,
    EDGES,
    KERNELS,
    NONE,
    OPERATIONS,
    OUTPUT,
    SKIP,
    Edge,
    live_edges,
)
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import CellSupernet, ChainSupernet, ParameterSlice

if TYPE_CHECKING:
    from lightning_nas.spaces.nasbench201 import NASBench201


@cache
def _stages(edges: tuple[Edge, ...]) -> tuple[tuple[Edge, ...], ...]:
    """For the stem, every node of the first cell and the rest of the network, the edges that it needs."""
    nodes = range(1, OUTPUT + 1)
    return (
        (),
        *(tuple(edge for edge in edges if EDGES[edge.number][1] == node) for node in nodes),
        edges,
    )


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


def _layers(space: "NASBench201", norm: NormPolicy, choices: Sequence[Sequence[int]]) -> nn.ModuleList:
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

    space: "NASBench201"

    def __init__(self, space: "NASBench201", norm: NormPolicy) -> None:
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

    def __init__(self, space: "NASBench201", path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.edges = live_edges(path)
        self.layers = _layers(space, norm, [() if choice == NONE else (choice,) for choice in path])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return _run(self.layers, x, self.edges)
