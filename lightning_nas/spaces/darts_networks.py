"""The networks of DARTS: the supernet, and a path alone."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Path
from lightning_nas.spaces.darts_graph import (
    EDGES,
    FILTERS,
    MAX_POOL,
    NODES,
    OPERATIONS,
    PAIRS,
    PER_CELL,
    SKIP,
    CellShape,
    Graph,
    Term,
    graphs_of,
    stride_of,
)
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.regularised import RegularisedNetwork, auxiliary_head
from lightning_nas.spaces.supernet import CellSupernet, ParameterSlice

if TYPE_CHECKING:
    from lightning_nas.spaces.darts import DARTS


class FactorizedReduction(nn.Module):
    """Halves an image of even size: two strided 1x1 convolutions, the second one pixel further on."""

    def __init__(self, in_channels: int, out_channels: int, norm: NormPolicy) -> None:
        super().__init__()
        self.halves = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False) for _ in range(2)
        )
        self.norm = norm.layer(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H/2 x W/2."""
        x = x.relu()
        first, second = self.halves
        return cast(Tensor, self.norm(torch.cat([first(x), second(x[:, :, 1:, 1:])], dim=1)))


def _projection(in_channels: int, out_channels: int, norm: NormPolicy) -> nn.Module:
    return nn.Sequential(nn.ReLU(), conv_norm(in_channels, out_channels, 1, norm))


def _filter(channels: int, kernel: int, dilation: int, stride: int, norm: NormPolicy) -> nn.Module:
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False
    )
    return nn.Sequential(nn.ReLU(), depthwise, conv_norm(channels, channels, 1, norm))


def _operation(operation: int, channels: int, stride: int, norm: NormPolicy) -> nn.Module:
    if operation in FILTERS:
        kernel, dilation, repeats = FILTERS[operation]
        strides = (stride, 1)[:repeats]
        return nn.Sequential(*(_filter(channels, kernel, dilation, step, norm) for step in strides))
    if operation == SKIP:
        return FactorizedReduction(channels, channels, norm) if stride == 2 else nn.Identity()
    pool = (
        nn.MaxPool2d(3, stride, padding=1)
        if operation == MAX_POOL
        else nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    )
    return nn.Sequential(pool, NormPolicy(affine=False, running_stats=norm.running_stats).layer(channels))


def _name(source: int, node: int, operation: int) -> str:
    return f"{source}_to_{node}_{OPERATIONS[operation]}"


class DARTSCell(nn.Module):
    """One cell with some of the operations on its edges, each with weights of its own.

    Args:
        shape: Its place in the network.
        operations: Source, node and operation of each.
        norm: Of all batch-norm layers but those of poolings, which have no scale and shift.
    """

    def __init__(
        self, shape: CellShape, operations: Iterable[tuple[int, int, int]], norm: NormPolicy
    ) -> None:
        super().__init__()
        self.reduction = shape.reduction
        first = FactorizedReduction if shape.halves_before else _projection
        self.preprocessing = nn.ModuleList(
            [
                first(shape.before, shape.channels, norm),
                _projection(shape.previous, shape.channels, norm),
            ]
        )
        self.operations = nn.ModuleDict(
            {
                _name(source, node, operation): _operation(
                    operation, shape.channels, stride_of(shape.reduction, source), norm
                )
                for source, node, operation in operations
            }
        )

    def operation(self, source: int, node: int, operation: int) -> nn.Module:
        """One operation of an edge."""
        return self.operations[_name(source, node, operation)]

    def forward(self, before: Tensor, previous: Tensor, graph: Graph) -> Tensor:
        """The nodes of ``graph``, concatenated, for the outputs of the two cells before this one."""
        inputs = zip(self.preprocessing, (before, previous), strict=True)
        states: list[Tensor] = [preprocess(x) for preprocess, x in inputs]
        for node, terms in zip(NODES, graph, strict=True):
            states.append(reduce(torch.add, [self._run(node, term, states) for term in terms]))
        return torch.cat(states[2:], dim=1)

    def _run(self, node: int, term: Term, states: list[Tensor]) -> Tensor:
        source, operation, coefficient = term
        y: Tensor = self.operation(source, node, operation)(states[source])
        return y if coefficient is None else coefficient * y


def _stem(space: "DARTS", norm: NormPolicy) -> nn.Module:
    return conv_norm(space.in_channels, space.stem_multiplier * space.channels, 3, norm)


def _run_cells(cells: Iterable[nn.Module], x: Tensor, normal: Graph, reduction: Graph) -> Tensor:
    before = previous = x
    for cell in cells:
        graph = reduction if cell.reduction else normal
        before, previous = previous, cell(before, previous, graph)
    return previous


def _head(space: "DARTS") -> nn.Module:
    channels = len(NODES) * space.shapes[-1].channels
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, space.num_classes))


class DARTSSupernet(CellSupernet):
    """Weights of their own for every operation on every edge of every cell.

    Its 1,930,522 weights at the published size, and the 96 of the stem's batch-norm, which alone keeps its
    scale and shift in the released search network, are the 1,930,618 printed by the released code.
    """

    def __init__(self, space: "DARTS", norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.stem = _stem(space, norm)
        everything = [(*edge, operation) for edge in EDGES for operation in range(len(OPERATIONS))]
        self.cells = nn.ModuleList(DARTSCell(shape, everything, norm) for shape in space.shapes)
        self.head = _head(space)
        for node in NODES:
            # Which input is the first, and which is the second of each pair: 2 x pairs x inputs.
            members = nn.functional.one_hot(torch.tensor(PAIRS[node]).T, node).float()
            self.register_buffer(f"pairs_of_{node}", members, persistent=False)

    @property
    def _cells(self) -> list[DARTSCell]:
        return cast(list[DARTSCell], list(self.cells))

    @property
    def stage_ends(self) -> list[DARTSCell]:
        """The cells before reduction cells, and the last."""
        *before, last = self._cells
        following = self._cells[1:]
        return [cell for cell, after in zip(before, following, strict=True) if after.reduction] + [last]

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""
        return self._forward(x, *graphs_of(path))

    def _forward(self, x: Tensor, normal: Graph, reduction: Graph) -> Tensor:
        return cast(Tensor, self.head(_run_cells(self.cells, self.stem(x), normal, reduction)))

    def forward_edges(self, x: Tensor, normal: Tensor, reduction: Tensor) -> Tensor:
        """Logits (N x classes) of cells in which all edges run, each a weighted sum of the operations.

        Args:
            x: Images (N x C x H x W).
            normal: The weight of every operation on every edge of the normal cells (14 x 7); edges in the order
                of ``EDGES``, those into node 2 first. Operations of weight 0 do not run.
            reduction: The same for the reduction cells.

        Raises:
            NASError: All weights into a node are 0.
        """
        used: list[list[list[bool]]] = torch.stack([normal, reduction]).detach().ne(0).tolist()
        return self._forward(
            x,
            _weighted_graph("normal", normal, used[0]),
            _weighted_graph("reduction", reduction, used[1]),
        )

    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits (N x classes) of a weighted mixture of operations.

        A node is the sum over pairs of inputs, weighted, of what the mixed operations make of the first and of
        the second input. The weights of an edge are combined first, so that each operation runs once at most.

        Args:
            x: Images (N x C x H x W).
            weights: One vector per decision, a weight for each of its choices. Choices of weight 0 do not
                run. Where one choice of every decision has weight 1 and the others 0, the mixture is that path.

        Raises:
            NASError: All weights into a node are 0.
        """
        return self.forward_edges(
            x, self._edge_weights(weights[:PER_CELL]), self._edge_weights(weights[PER_CELL:])
        )

    def _edge_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """The weight of every operation on every edge of a cell, from those of its decisions."""
        rows = []
        for node, start in zip(NODES, range(0, PER_CELL, 3), strict=True):
            pairs, first, second = weights[start : start + 3]
            is_first, is_second = self.get_buffer(f"pairs_of_{node}")
            rows.append(torch.outer(pairs @ is_first, first) + torch.outer(pairs @ is_second, second))
        return torch.cat(rows)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The weights that a path may use because it takes this choice.

        A pair of inputs holds all operations on its two edges, which other pairs may share. An operation on the
        first input holds its weights on the edge from state 0, one on the second input those on the edge from
        the last state; any other state may be the first or the second input, and then the choice of the pair
        alone rules out its weights.
        """
        reduction, position = divmod(decision, PER_CELL)
        number, role = divmod(position, 3)
        node = NODES[number]
        sources = PAIRS[node][choice] if role == 0 else (0 if role == 1 else node - 1,)
        operations = range(len(OPERATIONS)) if role == 0 else (choice,)
        return [
            ParameterSlice(parameter)
            for cell in self._cells
            if cell.reduction == bool(reduction)
            for source, operation in itertools.product(sources, operations)
            for parameter in cell.operation(source, node, operation).parameters()
        ]

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights that ``path`` uses: those of its operations, and all outside of the edges."""
        graphs = graphs_of(path)
        optional = {id(p) for cell in self._cells for p in cell.operations.parameters()}
        used = {
            id(parameter)
            for cell in self._cells
            for node, terms in zip(NODES, graphs[cell.reduction], strict=True)
            for term in terms
            for parameter in cell.operation(term.source, node, term.operation).parameters()
        }
        return [p for p in self.parameters() if id(p) in used or id(p) not in optional]


def _weighted_graph(cell: str, weights: Tensor, used: list[list[bool]]) -> Graph:
    nodes: dict[int, list[Term]] = {node: [] for node in NODES}
    for edge, (source, node) in enumerate(EDGES):
        nodes[node] += [
            Term(source, operation, weights[edge, operation])
            for operation, runs in enumerate(used[edge])
            if runs
        ]
    for node, terms in nodes.items():
        if not terms:
            raise NASError(
                f"all weights into node {node} of the {cell} cell are 0: valid is at least one other"
            )
    return tuple(map(tuple, nodes.values()))


class DARTSNetwork(RegularisedNetwork):
    """The network of one path, its weights named as in the supernet."""

    def __init__(self, space: "DARTS", path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.space = space
        self.normal, self.reduction = graphs_of(path)
        self.stem = _stem(space, norm)
        self.cells = nn.ModuleList(DARTSCell(shape, self._operations(shape), norm) for shape in space.shapes)
        self.head = _head(space)

    def _operations(self, shape: CellShape) -> Iterator[tuple[int, int, int]]:
        graph = self.reduction if shape.reduction else self.normal
        for node, terms in zip(NODES, graph, strict=True):
            for term in terms:
                yield term.source, node, term.operation

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.head(_run_cells(self.cells, self.stem(x), self.normal, self.reduction)))

    @property
    def droppable(self) -> list[nn.Module]:
        """All operations but identities, cell by cell."""
        operations = itertools.chain.from_iterable(
            cast(DARTSCell, cell).operations.values() for cell in self.cells
        )
        return [operation for operation in operations if not isinstance(operation, nn.Identity)]

    @property
    def auxiliary_input(self) -> nn.Module:
        """The second reduction cell."""
        return self.cells[2 * self.space.cells // 3]

    def auxiliary_head(self) -> nn.Module:
        """The head of the released code, whose 2x2 windows see the second reduction cell.

        Raises:
            NASError: The images have less than 12 pixels along a side.
        """
        shape = self.space.shapes[2 * self.space.cells // 3]
        return auxiliary_head(len(NODES) * shape.channels, shape.size, self.space.num_classes)
