"""DARTS: two cells of four nodes, each node with two inputs and an operation on each.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, Sec. 2.1 and 3.1, App. A.1, and released code.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cached_property

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.darts_graph import (
    FILTERS,
    GENOTYPE,
    NODES,
    OPERATIONS,
    PAIRS,
    SKIP,
    CellShape,
    choices_of,
    computed,
    graphs_of,
    read_graph,
    renumbered,
    stride_of,
)
from lightning_nas.spaces.darts_networks import DARTSNetwork, DARTSSupernet
from lightning_nas.spaces.operations import NormPolicy


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
            for graph in graphs_of(path)
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
        return choices_of(read_graph("normal", normal)) + choices_of(read_graph("reduce", reduction))

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, operations = self._costs
        for reduction, graph in enumerate(graphs_of(path)):
            for term in itertools.chain.from_iterable(graph):
                total += operations[reduction, stride_of(bool(reduction), term.source)][term.operation]
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
        normal, reduction = (min(map(choices_of, renumbered(graph))) for graph in graphs_of(path))
        return normal + reduction

    def class_size(self, path: Path) -> int:
        """The number of different paths that the orders of the nodes give."""
        normal, reduction = (len(renumbered(graph)) for graph in graphs_of(path))
        return normal * reduction

    def functional_key(self, path: Path) -> tuple[object, ...]:
        """For every node what it computes from which weights: skips of equal sources agree.

        Poolings do not, although they have no weights: the batch-norm behind them may keep statistics.
        """
        normal, reduction = graphs_of(path)
        return computed(normal, reduction=False), computed(reduction, reduction=True)

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
            for title, graph in zip(("normal cell", "reduction cell"), graphs_of(path), strict=True)
        )

    def _supernet(self, norm: NormPolicy) -> DARTSSupernet:
        return DARTSSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> DARTSNetwork:
        return DARTSNetwork(self, path, norm)


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
