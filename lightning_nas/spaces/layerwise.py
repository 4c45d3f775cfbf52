"""Spaces of layers that follow each other, each chosen by itself: the networks come for free."""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from lightning_nas.spaces.base import Path, SearchSpace
from lightning_nas.spaces.operations import NormPolicy
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice


class LayerwiseSpace(SearchSpace):
    """A stem, a layer per decision, and a head.

    A space says which module a choice is. Every choice of every layer has weights of its own; stem and head are
    shared.
    """

    @abstractmethod
    def stem(self, norm: NormPolicy) -> nn.Module:
        """What runs before the layers, from images (N x C x H x W)."""

    @abstractmethod
    def layer(self, decision: int, choice: int, norm: NormPolicy) -> nn.Module:
        """The module of a choice."""

    @abstractmethod
    def head(self, norm: NormPolicy) -> nn.Module:
        """What runs after the layers, to logits (N x classes)."""

    def _supernet(self, norm: NormPolicy) -> "LayerwiseSupernet":
        return LayerwiseSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "LayerwiseNetwork":
        return LayerwiseNetwork(self, path, norm)


class LayerwiseSupernet(ChainSupernet):
    """All choices of all layers."""

    def __init__(self, space: LayerwiseSpace, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.stem = space.stem(norm)
        self.layers = nn.ModuleList(
            nn.ModuleList(space.layer(decision, choice, norm) for choice in range(number))
            for decision, number in enumerate(space.num_choices)
        )
        self.head = space.head(norm)

    def _choice(self, decision: int, choice: int) -> nn.Module:
        return cast(nn.ModuleList, self.layers[decision])[choice]

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The weights of one choice at one layer."""
        return [ParameterSlice(parameter) for parameter in self._choice(decision, choice).parameters()]

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights of stem, chosen layers and head, without a look at all other choices."""
        modules = (self.stem, *map(self._choice, range(len(path)), path), self.head)
        return [parameter for module in modules for parameter in module.parameters()]

    def stages(self, path: Path) -> Sequence[Hashable]:
        """Stem, the choice of every layer, head."""
        return ("stem", *path, "head")

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """The output of one layer."""
        if isinstance(choice, int):
            return cast(Tensor, self._choice(depth - 1, choice)(x))
        return cast(Tensor, (self.stem if choice == "stem" else self.head)(x))


class LayerwiseNetwork(nn.Module):
    """The network of one path, its weights named as in the supernet."""

    def __init__(self, space: LayerwiseSpace, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.stem = space.stem(norm)
        self.layers = nn.ModuleList(
            nn.ModuleDict({str(choice): space.layer(decision, choice, norm)})
            for decision, choice in enumerate(path)
        )
        self.head = space.head(norm)

    def _operations(self) -> Iterator[nn.Module]:
        return (operation for layer in self.layers for operation in cast(nn.ModuleDict, layer).values())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        x = self.stem(x)
        for operation in self._operations():
            x = operation(x)
        return cast(Tensor, self.head(x))
