"""The networks of NAS-Bench-1Shot1: the supernet, and a path alone."""

import itertools
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Path
from lightning_nas.spaces.nasbench1shot1_graph import (
    INPUT,
    KERNELS,
    NODES,
    OPERATIONS,
    OUTPUT,
    PARENT_SETS,
    TAKING,
    CellShape,
    Node,
    Term,
    operating,
    parents_of,
    projected,
    split_path,
    width_of,
)
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import CellSupernet, ParameterSlice

if TYPE_CHECKING:
    from lightning_nas.spaces.nasbench1shot1 import NASBench1Shot1


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
            {
                str(node): _convolution(shape.in_channels, width_of(shape, node), 1, norm)
                for node in projections
            }
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
    choices, operations = split_path(path)
    *parents, output = (tuple(map(Term, sources)) for sources in parents_of(choices))
    nodes = [Node(terms, (Term(operation),)) for terms, operation in zip(parents, operations, strict=True)]
    return nodes, output


def _stem(space: "NASBench1Shot1", norm: NormPolicy) -> nn.Module:
    return _convolution(space.in_channels, space.channels, 3, norm)


def _run_cells(
    cells: Iterable[nn.Module], x: Tensor, nodes: Sequence[Node], output: Sequence[Term]
) -> Tensor:
    for cell in cells:
        x = cell(x, nodes, output)
    return x


def _head(space: "NASBench1Shot1", norm: NormPolicy) -> nn.Module:
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

    space: "NASBench1Shot1"

    def __init__(self, space: "NASBench1Shot1", norm: NormPolicy) -> None:
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
                *map(cell.projection, projected(path)),
                *itertools.starmap(cell.operation, operating(path)),
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

    def __init__(self, space: "NASBench1Shot1", path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.nodes, self.output = _terms(path)
        self.stem = _stem(space, norm)
        self.cells = nn.ModuleList(
            OneShotCell(shape, projected(path), operating(path), norm) for shape in space.shapes
        )
        self.head = _head(space, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.head(_run_cells(self.cells, self.stem(x), self.nodes, self.output)))
