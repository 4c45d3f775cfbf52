"""NAS-Bench-201: which operation stands on each of the six edges of a cell.

Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020, Sec. 2.1
and released code.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Cell, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.nasbench201_graph import (
    EDGES,
    KERNELS,
    NONE,
    OPERATIONS,
    OUTPUT,
    expression,
    live_edges,
    published_expression,
)
from lightning_nas.spaces.nasbench201_networks import NASBench201Network, NASBench201Supernet
from lightning_nas.spaces.operations import NormPolicy

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
        return expression(path)

    def published_key(self, path: Path) -> str:
        """The text that the benchmark's authors and Ning et al. compare: 6,466 classes.

        (Evaluating Efficient Performance Estimators, NeurIPS 2021.) It sees dead inputs only of node 1 and does not
        look through sums, so it parts 623 exact classes.
        """
        self.require(path)
        return published_expression(path)

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

    def _supernet(self, norm: NormPolicy) -> NASBench201Supernet:
        return NASBench201Supernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> NASBench201Network:
        return NASBench201Network(self, path, norm)
