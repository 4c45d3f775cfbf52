"""What the network that shares the weights of all paths can do."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Path, SearchSpace
from lightning_nas.spaces.operations import NormPolicy


class ParameterSlice(NamedTuple):
    """A part of a shared tensor: ``parameter[index]``.

    Attributes:
        parameter: The tensor of the supernet.
        index: What of it is meant; the ellipsis is all.
    """

    parameter: nn.Parameter
    index: Any = ...


class Supernet(nn.Module, ABC):
    """The shared weights of all paths of a space.

    Attributes:
        space: The space whose paths it runs.
        norm: How its batch-norm layers were built.
    """

    def __init__(self, space: SearchSpace, norm: NormPolicy) -> None:
        super().__init__()
        self.space = space
        self.norm = norm

    @abstractmethod
    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""

    @abstractmethod
    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The weights that a path may use because it takes this choice; empty if there are none.

        Where choices own their weights these are whole tensors, and no other choice of the decision has them.
        Where a choice is a size, they are slices, and the larger choice holds those of the smaller. Where it is
        an input, choices with an input in common hold the weights of its edge.
        """

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights that ``path`` uses: those that get a gradient when it is trained.

        Here for supernets whose choices own their weights: the shared ones and those of its choices.
        """
        unused = {
            id(part.parameter)
            for decision, choices in enumerate(self.space.num_choices)
            for choice in range(choices)
            if choice != path[decision]
            for part in self.choice_parameters(decision, choice)
        }
        return [parameter for parameter in self.parameters() if id(parameter) not in unused]

    def extract(self, path: Path) -> nn.Module:
        """A copy of ``path`` as a stand-alone network whose output equals ``forward(x, path)``, bitwise.

        Raises:
            NASError: ``path`` does not belong to the space.
        """
        network = self.space.build_standalone(path, norm=self.norm)
        network.load_state_dict(self._inherited(path, network.state_dict()))
        first = next(self.parameters())
        return network.to(first.device, first.dtype).train(self.training)

    def _inherited(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The supernet's tensors for the ``state`` of a stand-alone network: here those of the same names."""
        own = self.state_dict()
        return {name: own[name] for name in state}

    def forward_each(self, x: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
        """Runs many paths on the same images, those of one functional key once.

        Yields:
            The position of a path in ``paths`` and its logits, in an order of the supernet's own. Every logit
            is bitwise that of ``forward``.
        """
        positions: dict[Hashable, list[int]] = {}
        for position, path in enumerate(paths):
            positions.setdefault(self.space.functional_key(path), []).append(position)
        for alike in positions.values():
            logits = self(x, paths[alike[0]])
            for position in alike:
                yield position, logits

    def activations(self, x: Tensor, path: Path) -> list[Tensor]:
        """What a few layers of ``path`` make of images ``x``: from input to output, as many for every path.

        Raises:
            NASError: The supernet does not say which.
        """
        raise NASError(
            f"{type(self).__name__} does not say which activations stand for a path: give it a method activations"
        )


class CellSupernet(Supernet):
    """A supernet of cells, which also runs all operations at once, weighted."""

    @abstractmethod
    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits (N x classes) of a weighted mixture of operations.

        Args:
            x: Images (N x C x H x W).
            weights: One vector per decision, a weight for each of its choices. Choices of weight 0 do not
                run. Where one choice of every decision has weight 1 and the others 0, the mixture is that path.
        """

    @property
    def stage_ends(self) -> Sequence[nn.Module]:
        """Modules after which the resolution or the network ends; every path runs each of them once."""
        return ()

    def activations(self, x: Tensor, path: Path) -> list[Tensor]:
        """What the ends of the stages make of images ``x``.

        Raises:
            NASError: The supernet does not say where its stages end.
        """
        if not self.stage_ends:
            return super().activations(x, path)
        seen: list[Tensor] = []
        handles = [
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
            for module in self.stage_ends
        ]
        try:
            self(x, path)
        finally:
            for handle in handles:
                handle.remove()
        return seen


class ChainSupernet(Supernet):
    """A supernet whose paths are chains of stages, so that common beginnings need to run only once."""

    @abstractmethod
    def stages(self, path: Path) -> Sequence[Hashable]:
        """What ``path`` does at every stage. Paths that agree on a prefix share its activations."""

    @abstractmethod
    def run_stage(self, depth: int, choice: Hashable, x: Any) -> Any:
        """What stage number ``depth`` under ``choice`` makes of what the stage before it made.

        The first stage is given the images and the last one returns the logits; between them anything may be
        handed on.
        """

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""
        state: Any = x
        for depth, choice in enumerate(self.stages(path)):
            state = self.run_stage(depth, choice, state)
        return cast(Tensor, state)

    def forward_each(self, x: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
        """Runs many paths on the same images, every common prefix once, depth first.

        Only the activations of one chain are alive at a time.

        Yields:
            The position of a path in ``paths`` and its logits.
        """
        yield from self._descend(x, [(i, self.stages(path)) for i, path in enumerate(paths)], depth=0)

    def activations(self, x: Tensor, path: Path) -> list[Tensor]:
        """What the first third, the first two thirds and all of the stages before the last make of images ``x``.

        Raises:
            NASError: What a stage hands on is no tensor.
        """
        states: list[Any] = [x]
        *stages, _ = self.stages(path)
        for depth, choice in enumerate(stages):
            states.append(self.run_stage(depth, choice, states[-1]))
        chosen = [states[math.ceil(third * len(stages) / 3)] for third in (1, 2, 3)]
        if not all(isinstance(state, Tensor) for state in chosen):
            return super().activations(x, path)
        return chosen

    def _descend(
        self, state: Any, chains: list[tuple[int, Sequence[Hashable]]], depth: int
    ) -> Iterator[tuple[int, Tensor]]:
        branches: dict[Hashable, list[tuple[int, Sequence[Hashable]]]] = {}
        for position, stages in chains:
            if depth == len(stages):
                yield position, state
            else:
                branches.setdefault(stages[depth], []).append((position, stages))
        for choice, branch in branches.items():
            yield from self._descend(self.run_stage(depth, choice, state), branch, depth + 1)
