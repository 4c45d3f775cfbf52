"""DARTS: two cells of four nodes, each node with two inputs and an operation on each.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, Sec. 2.1 and 3.1, App. A.1, and released code.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.regularised import RegularisedNetwork, auxiliary_head
from lightning_nas.spaces.supernet import CellSupernet, ParameterSlice

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


@dataclass(frozen=True)
class DARTS(SearchSpace):
    """A normal and a reduction cell: 1,037,664,180^2 = 1.08e18 networks.

    A cell has four nodes, numbered 2 to 5 after the outputs of the two cells before it, 0 and 1. Each node makes
    three decisions: which two different earlier states are its inputs (number of the pair in lexicographic
    order), and one of seven operations on the first and on the second input. ``none`` is no operation of
    discrete cells. A cell's output is its four nodes, concatenated. The cells numbered cells // 3 and
    2 * cells // 3 are reduction cells, all others normal ones.

    Paths are written as genotypes, such as ``Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...],
    normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[2, 3, 4, 5])``.

    The defaults are the published search network; ``DARTS(channels=36, cells=20)`` is the evaluation network; its
    auxiliary head and drop path belong to its training (``lightning_nas.tricks``). The released search network has a
    batch-norm without scale and shift behind every pooling, the released evaluation network has none. Here it
    is in both, so that a path is the same network with shared weights and alone; numbers of parameters are
    those of the released code either way.

    Attributes:
        channels: Width of the nodes before the first reduction cell, which doubles it, as does the second.
        cells: Cells one after the other, at least three.
        stem_multiplier: Width of the stem, in ``channels``.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side: a multiple of 4, because a factorized reduction needs even sizes.

    Raises:
        NASError: Numbers of which no such network can be built.

    Example:
        >>> space = DARTS()
        >>> space.size == 1_037_664_180**2
        True
        >>> path = space[0]
        >>> space.encode(path)[:74]
        "Genotype(normal=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3'"
        >>> space.cost(path)
        Cost(params=100730, macs=20466176)
    """

    channels: int = 16
    cells: int = 8
    stem_multiplier: int = 3
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        self._require_positive("channels", "stem_multiplier", "num_classes", "in_channels")
        if self.cells < 3:
            raise NASError(f"DARTS.cells is {self.cells}: valid are numbers from 3")
        if self.image_size < 4 or self.image_size % 4:
            raise NASError(
                f"DARTS.image_size is {self.image_size}: two reduction cells halve it, so valid are multiples of 4"
            )

    @cached_property
    def shapes(self) -> tuple[CellShape, ...]:
        """The shape of every cell."""
        before = previous = self.stem_multiplier * self.channels
        channels, size, halves_before, shapes = self.channels, self.image_size, False, []
        for number in range(self.cells):
            reduction = number in (self.cells // 3, 2 * self.cells // 3)
            if reduction:
                channels, size = 2 * channels, size // 2
            shapes.append(CellShape(before, previous, channels, size, reduction, halves_before))
            before, previous, halves_before = previous, len(NODES) * channels, reduction
        return tuple(shapes)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Pairs of inputs and twice the operations, for every node of the normal and the reduction cell."""
        cell = tuple(number for node in NODES for number in (len(PAIRS[node]), *(len(OPERATIONS),) * 2))
        return cell * 2

    @property
    def choice_names(self) -> tuple[tuple[str, ...] | None, ...]:
        """The operations; pairs of inputs are none."""
        return (None, OPERATIONS, OPERATIONS) * (2 * len(NODES))

    def encode(self, path: Path) -> str:
        """The genotype, such as ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], ...)``."""
        self.require(path)
        normal, reduction = (
            [(OPERATIONS[term.operation], term.source) for node in graph for term in node]
            for graph in _graphs(path)
        )
        concat = list(NODES)
        return (
            f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduction}, reduce_concat={concat})"
        )

    def decode(self, text: str) -> Path:
        """The path of a genotype.

        The two inputs of a node may be in either order, concatenations may be written ``range(2, 6)``, and
        spaces do not matter.

        Raises:
            NASError: Another form, operation, input or concatenation.
        """
        match = GENOTYPE.fullmatch(re.sub(r"\s", "", text).replace('"', "'"))
        if match is None:
            raise NASError(
                f"genotype {text!r} is not of the form Genotype(normal=[('sep_conv_3x3', 0), ...], "
                "normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[2, 3, 4, 5])"
            )
        normal, normal_concat, reduction, reduction_concat = match.groups()
        for cell, concat in (("normal", normal_concat), ("reduce", reduction_concat)):
            if concat not in ("[2,3,4,5]", "range(2,6)"):
                raise NASError(f"genotype has {cell}_concat={concat}: valid is [2, 3, 4, 5]")
        return _choices(_read_graph("normal", normal)) + _choices(_read_graph("reduce", reduction))

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, operations = self._costs
        for reduction, graph in enumerate(_graphs(path)):
            for term in itertools.chain.from_iterable(graph):
                total += operations[reduction, _stride(bool(reduction), term.source)][term.operation]
        return total

    @cached_property
    def _costs(self) -> tuple[Cost, dict[tuple[int, int], tuple[Cost, ...]]]:
        """What all paths share, and every operation in all cells of a kind, by kind and stride."""
        stem = self.stem_multiplier * self.channels
        shared = cost.convolution(self.in_channels, stem, kernel=3, size=self.image_size)
        shared += cost.batch_norm(stem) + cost.linear(len(NODES) * self.shapes[-1].channels, self.num_classes)
        operations = {key: (Cost(0, 0),) * len(OPERATIONS) for key in ((0, 1), (1, 1), (1, 2))}
        for shape in self.shapes:
            shared += _preprocessing_cost(shape)
            for stride in (1, 2) if shape.reduction else (1,):
                operations[shape.reduction, stride] = tuple(
                    total + _operation_cost(operation, shape, stride)
                    for operation, total in enumerate(operations[shape.reduction, stride])
                )
        return shared, operations

    def canonical(self, path: Path) -> Path:
        """The smallest path that numbers the nodes of each cell in another order in which edges point forward.

        The order of the concatenation changes with it, and with it only which weights of the next cell read
        which channels. With shared weights paths of a class differ, because every edge has weights of its own.
        """
        normal, reduction = (min(map(_choices, _renumbered(graph))) for graph in _graphs(path))
        return normal + reduction

    def class_size(self, path: Path) -> int:
        """The number of different paths that the orders of the nodes give."""
        normal, reduction = (len(_renumbered(graph)) for graph in _graphs(path))
        return normal * reduction

    def functional_key(self, path: Path) -> tuple[object, ...]:
        """For every node what it computes from which weights: skips of equal sources agree.

        Poolings do not, although they have no weights: the batch-norm behind them may keep statistics.
        """
        normal, reduction = _graphs(path)
        return _computed(normal, reduction=False), _computed(reduction, reduction=True)

    def outline(self, path: Path) -> tuple[Cell, ...]:
        """The normal and the reduction cell."""
        nodes = ("cell k-2", "cell k-1", *map(str, NODES), "cell k")
        output = tuple((node, len(nodes) - 1, "") for node in NODES)
        return tuple(
            Cell(
                title,
                nodes,
                (
                    *(
                        (term.source, node, OPERATIONS[term.operation])
                        for node, terms in zip(NODES, graph, strict=True)
                        for term in terms
                    ),
                    *output,
                ),
            )
            for title, graph in zip(("normal cell", "reduction cell"), _graphs(path), strict=True)
        )

    def _supernet(self, norm: NormPolicy) -> "DARTSSupernet":
        return DARTSSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "DARTSNetwork":
        return DARTSNetwork(self, path, norm)


# ------------------------------------------------------------------------------------------------ paths as graphs


def _graphs(path: Path) -> tuple[Graph, Graph]:
    """What the normal and the reduction cell of ``path`` compute."""
    return _graph(path[:PER_CELL]), _graph(path[PER_CELL:])


def _graph(choices: Path) -> Graph:
    return tuple(
        tuple(map(Term, PAIRS[node][pair], operations))
        for node, (pair, *operations) in zip(NODES, _by_node(choices), strict=True)
    )


def _by_node(choices: Path) -> Iterator[Path]:
    return (choices[start : start + 3] for start in range(0, PER_CELL, 3))


def _choices(graph: Graph) -> Path:
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


def _renumbered(graph: Graph) -> set[Graph]:
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


def _computed(graph: Graph, *, reduction: bool) -> tuple[object, ...]:
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
    return term.operation != SKIP or _stride(reduction, term.source) == 2


def _stride(reduction: bool, source: int) -> int:
    return 2 if reduction and source < 2 else 1


# ----------------------------------------------------------------------------------------------------- genotypes

GENOTYPE = re.compile(
    r"Genotype\(normal=\[(.*)\],normal_concat=(.*),reduce=\[(.*)\],reduce_concat=(.*)\)", re.ASCII
)
ENTRY = re.compile(r"\('(\w+)',(\d)\)", re.ASCII)


def _read_graph(cell: str, text: str) -> Graph:
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


# --------------------------------------------------------------------------------------------------------- costs


def _projection_cost(in_channels: int, out_channels: int, size: int) -> Cost:
    """Of a 1x1 convolution with batch-norm, and of the two halves of a factorized reduction."""
    return cost.convolution(in_channels, out_channels, kernel=1, size=size) + cost.batch_norm(out_channels)


def _preprocessing_cost(shape: CellShape) -> Cost:
    size = 2 * shape.size if shape.reduction else shape.size
    before, previous = (
        _projection_cost(channels, shape.channels, size) for channels in (shape.before, shape.previous)
    )
    return before + previous


def _operation_cost(operation: int, shape: CellShape, stride: int) -> Cost:
    channels, size = shape.channels, shape.size
    if operation == SKIP and stride == 2:
        return _projection_cost(channels, channels, size)
    total = Cost(0, 0)
    if operation in FILTERS:
        kernel, _, repeats = FILTERS[operation]
        for _ in range(repeats):
            total += cost.convolution(channels, channels, kernel=kernel, size=size, groups=channels)
            total += _projection_cost(channels, channels, size)
    return total


# ------------------------------------------------------------------------------------------------------ networks


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
                    operation, shape.channels, _stride(shape.reduction, source), norm
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


def _stem(space: DARTS, norm: NormPolicy) -> nn.Module:
    return conv_norm(space.in_channels, space.stem_multiplier * space.channels, 3, norm)


def _run_cells(cells: Iterable[nn.Module], x: Tensor, normal: Graph, reduction: Graph) -> Tensor:
    before = previous = x
    for cell in cells:
        graph = reduction if cell.reduction else normal
        before, previous = previous, cell(before, previous, graph)
    return previous


def _head(space: DARTS) -> nn.Module:
    channels = len(NODES) * space.shapes[-1].channels
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, space.num_classes))


class DARTSSupernet(CellSupernet):
    """Weights of their own for every operation on every edge of every cell.

    Its 1,930,522 weights at the published size, and the 96 of the stem's batch-norm, which alone keeps its
    scale and shift in the released search network, are the 1,930,618 printed by the released code.
    """

    def __init__(self, space: DARTS, norm: NormPolicy) -> None:
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
        return self._forward(x, *_graphs(path))

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
        graphs = _graphs(path)
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

    def __init__(self, space: DARTS, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.space = space
        self.normal, self.reduction = _graphs(path)
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
