"""A space for tests: a product, with choices that own weights and one that owns none, and no batch-norm.

Without batch-norm every image counts for itself, so results can be compared between ranks and batch sizes.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import ChainSupernet, Cost, NormPolicy, ParameterSlice, Path, SearchSpace
from lightning_nas.spaces.cost import linear


@dataclass(frozen=True)
class Toy(SearchSpace):
    """Layers of width ``width``, each of which is nothing (0) or one of two linear maps (1, 2)."""

    layers: int = 3
    width: int = 6
    num_classes: int = 10
    in_channels: int = 1
    image_size: int = 8

    @property
    def num_choices(self) -> tuple[int, ...]:
        return (3,) * self.layers

    @property
    def inputs(self) -> int:
        return self.in_channels * self.image_size**2

    def encode(self, path: Path) -> str:
        return "".join(map(str, path))

    def decode(self, text: str) -> Path:
        path = tuple(int(letter) for letter in text if letter in "012")
        if len(text) != self.layers or not self.is_valid(path):
            raise NASError(f"architecture {text!r} is not in the toy space")
        return path

    def cost(self, path: Path) -> Cost:
        total = linear(self.inputs, self.width) + linear(self.width, self.num_classes)
        for choice in path:
            total += linear(self.width, self.width) if choice else Cost(0, 0)
        return total

    def _supernet(self, norm: NormPolicy) -> "ToySupernet":
        return ToySupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> nn.Module:
        layers = [nn.Sequential(nn.Linear(self.width, self.width), nn.Tanh()) for choice in path if choice]
        stem = nn.Sequential(nn.Flatten(), nn.Linear(self.inputs, self.width))
        return nn.Sequential(stem, *layers, nn.Linear(self.width, self.num_classes))


class ToySupernet(ChainSupernet):
    space: Toy

    def __init__(self, space: Toy, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(space.inputs, space.width))
        self.choices = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.Linear(space.width, space.width), nn.Tanh()) for _ in range(2))
            for _ in range(space.layers)
        )
        self.head = nn.Linear(space.width, space.num_classes)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        if choice == 0:
            return []
        owned = cast(nn.ModuleList, self.choices[decision])[choice - 1].parameters()
        return [ParameterSlice(parameter) for parameter in owned]

    def stages(self, path: Path) -> Sequence[Hashable]:
        return ("stem", *path, "head")

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        if choice == "stem":
            return torch.as_tensor(self.stem(x))
        if choice == "head":
            return torch.as_tensor(self.head(x))
        if choice == 0:
            return x
        layer = cast(nn.ModuleList, self.choices[depth - 1])[cast(int, choice) - 1]
        return torch.as_tensor(layer(x))
