"""NAS-Bench-Macro: which block stands at each of eight layers.

Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021, Sec. 5.1 and released
code.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Chain, Path
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.layerwise import LayerwiseSpace
from lightning_nas.spaces.operations import InvertedResidual, NormPolicy, conv_norm

KERNELS = {1: 3, 2: 5}
EXPANSIONS = {1: 3, 2: 6}
NUM_CHOICES = 3


class Layer(NamedTuple):
    """The shape of a searchable layer."""

    in_channels: int
    out_channels: int
    stride: int


@dataclass(frozen=True)
class NASBenchMacro(LayerwiseSpace):
    """Three choices at each of eight layers: 3^8 = 6,561 networks.

    ``0`` is the identity (a strided 1x1 convolution with batch-norm where shapes change), ``1`` an inverted
    residual with kernel 3 and expansion 3, ``2`` one with kernel 5 and expansion 6. Written as digits, such as
    ``22212220``.

    Attributes:
        channels: Widths of the stem and of the stages; the first layer of a stage halves the image.
        layers: Searchable layers of every stage.
        head_channels: Width of the 1x1 convolution before the classifier.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least one for every halving.

    Raises:
        NASError: Channels and layers of which no such network can be built.

    Example:
        >>> space = NASBenchMacro()
        >>> space.size, space.cost(space.decode("22212220"))
        (6561, Cost(params=1985514, macs=85164544))
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    layers: tuple[int, ...] = (2, 3, 3)
    head_channels: int = 1280
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "layers", tuple(self.layers))
        self._require_positive("head_channels", "num_classes", "in_channels")
        if self.image_size < 2 ** len(self.layers):
            raise NASError(
                f"NASBenchMacro.image_size is {self.image_size}: halving it {len(self.layers)} times needs at least "
                f"{2 ** len(self.layers)} pixels"
            )
        if (
            not self.layers
            or len(self.channels) != len(self.layers) + 1
            or min(*self.channels, *self.layers) < 1
        ):
            raise NASError(
                f"NASBenchMacro.channels is {self.channels} and layers {self.layers}: valid are positive numbers, one "
                "width more than there are stages"
            )

    @cached_property
    def shapes(self) -> tuple[Layer, ...]:
        """The shape of every searchable layer."""
        return tuple(
            Layer(before if first else after, after, 2 if first else 1)
            for before, after, number in zip(self.channels[:-1], self.channels[1:], self.layers, strict=True)
            for first in (i == 0 for i in range(number))
        )

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Three at every layer."""
        return (NUM_CHOICES,) * len(self.shapes)

    @property
    def choice_names(self) -> tuple[tuple[str, ...], ...]:
        """Identity and blocks."""
        return (("identity", "k3 e3", "k5 e6"),) * len(self.shapes)

    def encode(self, path: Path) -> str:
        """One digit per layer, such as ``22212220``."""
        self.require(path)
        return "".join(map(str, path))

    def decode(self, text: str) -> Path:
        """The path of digits such as ``22212220``.

        Raises:
            NASError: Another number of digits, or a digit other than 0, 1 and 2.
        """
        if len(text) != len(self.shapes):
            raise NASError(
                f"architecture {text!r} has {len(text)} digits: valid are {len(self.shapes)}, one per layer"
            )
        for layer, digit in enumerate(text):
            if digit not in ("0", "1", "2"):
                raise NASError(f"architecture {text!r} has {digit!r} at layer {layer}: valid are 0, 1 and 2")
        return tuple(map(int, text))

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, choices = self._costs
        for layer, choice in enumerate(path):
            total += choices[layer][choice]
        return total

    @cached_property
    def _costs(self) -> tuple[Cost, tuple[tuple[Cost, ...], ...]]:
        """What all paths share, and every choice of every layer."""
        stem, *_, last = self.channels
        size = self.image_size
        shared = cost.convolution(self.in_channels, stem, kernel=3, size=size) + cost.batch_norm(stem)
        choices = []
        for shape in self.shapes:
            choices.append(tuple(_choice_cost(shape, choice, size) for choice in range(NUM_CHOICES)))
            size = -(-size // shape.stride)
        shared += cost.convolution(last, self.head_channels, kernel=1, size=size)
        shared += cost.batch_norm(self.head_channels) + cost.linear(self.head_channels, self.num_classes)
        return shared, tuple(choices)

    def _stages(self, path: Path) -> Iterator[Path]:
        """The choices of every stage."""
        start = 0
        for number in self.layers:
            yield path[start : start + number]
            start += number

    def canonical(self, path: Path) -> Path:
        """The path whose identities come last in every stage: within a stage they change nothing.

        The first layer of a stage changes shapes and keeps its place. 3,969 classes at the published size. With
        shared weights paths of a class differ, because every layer has weights of its own.
        """
        self.require(path)
        return tuple(
            choice
            for first, *others in self._stages(path)
            for choice in (
                first,
                *(other for other in others if other),
                *(other for other in others if not other),
            )
        )

    def class_size(self, path: Path) -> int:
        """The number of ways to place the identities of every stage."""
        return math.prod(math.comb(len(others), others.count(0)) for _, *others in self._stages(path))

    def outline(self, path: Path) -> Chain:
        """A row per stage."""
        titles, rows, size = [], [], self.image_size
        for width, stage in zip(self.channels[1:], self._stages(path), strict=True):
            size = -(-size // 2)
            titles.append(f"{width} channels, {size} x {size}")
            rows.append(tuple(self._label(choice, first=i == 0) for i, choice in enumerate(stage)))
        return Chain(tuple(titles), tuple(rows))

    def _label(self, choice: int, first: bool) -> str:
        return (
            f"MB k{KERNELS[choice]} e{EXPANSIONS[choice]}" if choice else "conv 1x1" if first else "identity"
        )

    def stem(self, norm: NormPolicy) -> nn.Module:
        """A 3x3 convolution."""
        return nn.Sequential(conv_norm(self.in_channels, self.channels[0], 3, norm), nn.ReLU())

    def layer(self, decision: int, choice: int, norm: NormPolicy) -> nn.Module:
        """An identity, which changes the shape where it must, or an inverted residual."""
        before, after, stride = self.shapes[decision]
        if choice:
            return InvertedResidual(before, after, KERNELS[choice], EXPANSIONS[choice], stride, norm)
        if stride == 1 and before == after:
            return nn.Identity()
        return conv_norm(before, after, 1, norm, stride)

    def head(self, norm: NormPolicy) -> nn.Module:
        """A 1x1 convolution and the classifier."""
        return nn.Sequential(
            conv_norm(self.channels[-1], self.head_channels, 1, norm),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.head_channels, self.num_classes),
        )


def _choice_cost(shape: Layer, choice: int, size: int) -> Cost:
    before, after, stride = shape
    if choice:
        return InvertedResidual.cost(before, after, KERNELS[choice], EXPANSIONS[choice], size, stride)
    if stride == 1 and before == after:
        return Cost(0, 0)
    return cost.convolution(before, after, kernel=1, size=-(-size // stride)) + cost.batch_norm(after)
