"""MobileNetV2: kernel and expansion of 21 inverted residuals, the ImageNet space of ProxylessNAS.

Cai et al., ProxylessNAS, ICLR 2019, Sec. 3; with the widths and the choices of PA&DA (Lu et al., CVPR 2023, Sec.
4.3) and of Subnet-Aware Dynamic Supernet Training (CVPR 2025, supplement A and released code).
"""

import itertools
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

BLOCKS = ((3, 3), (3, 6), (5, 3), (5, 6), (7, 3), (7, 6))
"""Kernel and expansion of the choices that are blocks."""
SKIP = len(BLOCKS)
"""The last choice of a layer that keeps its shape: the identity."""


class Layer(NamedTuple):
    """The shape of a searchable layer."""

    in_channels: int
    out_channels: int
    stride: int

    @property
    def num_choices(self) -> int:
        """The blocks, and the identity where it fits."""
        same = self.stride == 1 and self.in_channels == self.out_channels
        return len(BLOCKS) + same


@dataclass(frozen=True)
class MobileNetV2(LayerwiseSpace):
    """Six or seven choices at each of 21 layers: 6^6 * 7^15 = 2.2 * 10^17 networks.

    ``0`` to ``5`` are inverted residuals with kernel 3, 5 or 7 and expansion 3 (even) or 6 (odd); ``6`` leaves the
    layer out, where it changes neither width nor resolution. Written as digits, such as ``066606660666066606660``.
    A stem, one block of expansion 1 and a head are the same in all networks.

    Attributes:
        stem_channels: Width of the first convolution.
        first_channels: Width of the block of expansion 1.
        channels: Widths of the stages.
        layers: Searchable layers of every stage.
        strides: By how much the first layer of every stage divides the resolution.
        stem_stride: By how much the first convolution does.
        head_channels: Width of the 1x1 convolution before the classifier.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least the product of all strides.

    Raises:
        NASError: Sizes of which no such network can be built.

    Example:
        >>> space = MobileNetV2()
        >>> space.size, space.cost(space.decode("1" * 21))
        (221502229807900608, Cost(params=4684776, macs=472620800))
    """

    stem_channels: int = 32
    first_channels: int = 16
    channels: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    layers: tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    stem_stride: int = 2
    head_channels: int = 1280
    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224

    def __post_init__(self) -> None:
        # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
        for name in ("channels", "layers", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.channels) == len(self.layers) == len(self.strides) > 0 or any(
            number < 1 for number in (*self.channels, *self.layers, *self.strides)
        ):
            raise NASError(
                f"MobileNetV2.channels is {self.channels}, layers {self.layers} and strides {self.strides}: valid are "
                "positive numbers, one of each per stage"
            )
        self._require_positive("stem_channels", "first_channels", "stem_stride", "head_channels")
        self._require_positive("num_classes", "in_channels")
        reduction = self.stem_stride * math.prod(self.strides)
        if self.image_size < reduction:
            raise NASError(
                f"MobileNetV2.image_size is {self.image_size}: dividing it by strides of {reduction} in all needs at "
                f"least {reduction} pixels"
            )

    @cached_property
    def shapes(self) -> tuple[Layer, ...]:
        """The shape of every searchable layer."""
        widths = (self.first_channels, *self.channels)
        return tuple(
            Layer(before if first else after, after, stride if first else 1)
            for (before, after), number, stride in zip(
                itertools.pairwise(widths), self.layers, self.strides, strict=True
            )
            for first in (i == 0 for i in range(number))
        )

    @cached_property
    def num_choices(self) -> tuple[int, ...]:
        """Six at layers that change a shape, seven at the others."""
        return tuple(shape.num_choices for shape in self.shapes)

    @property
    def choice_names(self) -> tuple[tuple[str, ...], ...]:
        """Blocks, and the identity where it fits."""
        return tuple(tuple(map(_label, range(number))) for number in self.num_choices)

    def encode(self, path: Path) -> str:
        """One digit per layer, such as ``066606660666066606660``."""
        self.require(path)
        return "".join(map(str, path))

    def decode(self, text: str) -> Path:
        """The path of digits such as ``066606660666066606660``.

        Raises:
            NASError: Another number of digits, or a digit that is no choice of its layer.
        """
        if len(text) != len(self.shapes):
            raise NASError(
                f"architecture {text!r} has {len(text)} digits: valid are {len(self.shapes)}, one per layer"
            )
        for layer, (digit, number) in enumerate(zip(text, self.num_choices, strict=True)):
            if digit not in map(str, range(number)):
                raise NASError(
                    f"architecture {text!r} has {digit!r} at layer {layer}: valid are 0 to {number - 1}"
                )
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
        stem, first, last = self.stem_channels, self.first_channels, self.channels[-1]
        size = -(-self.image_size // self.stem_stride)
        shared = cost.convolution(self.in_channels, stem, kernel=3, size=size) + cost.batch_norm(stem)
        shared += cost.convolution(stem, stem, kernel=3, size=size, groups=stem) + cost.batch_norm(stem)
        shared += cost.convolution(stem, first, kernel=1, size=size) + cost.batch_norm(first)
        choices = []
        for shape in self.shapes:
            choices.append(tuple(_choice_cost(shape, choice, size) for choice in range(shape.num_choices)))
            size = -(-size // shape.stride)
        shared += cost.convolution(last, self.head_channels, kernel=1, size=size)
        shared += cost.batch_norm(self.head_channels) + cost.linear(self.head_channels, self.num_classes)
        return shared, tuple(choices)

    def _runs(self, path: Path) -> Iterator[Path]:
        """The path cut where layers begin or cease to offer the identity: those between that do have one shape."""
        layers = zip(self.shapes, path, strict=True)
        for _, run in itertools.groupby(layers, lambda layer: layer[0].num_choices):
            yield tuple(choice for _, choice in run)

    def canonical(self, path: Path) -> Path:
        """The path whose identities come last among consecutive layers of one shape, where they change nothing.

        Layers that change a shape keep their place. With shared weights paths of a class differ, because every
        layer has weights of its own.
        """
        self.require(path)
        return tuple(
            choice for run in self._runs(path) for choice in sorted(run, key=lambda choice: choice == SKIP)
        )

    def class_size(self, path: Path) -> int:
        """The number of ways to place the identities among consecutive layers of one shape."""
        return math.prod(math.comb(len(run), run.count(SKIP)) for run in self._runs(path))

    def outline(self, path: Path) -> Chain:
        """A row per stage."""
        titles, rows, choices = [], [], iter(path)
        size = -(-self.image_size // self.stem_stride)
        for width, number, stride in zip(self.channels, self.layers, self.strides, strict=True):
            size = -(-size // stride)
            titles.append(f"{width} channels, {size} x {size}")
            rows.append(tuple(_label(choice) for choice in itertools.islice(choices, number)))
        return Chain(tuple(titles), tuple(rows))

    def stem(self, norm: NormPolicy) -> nn.Module:
        """The first convolution, and the block of expansion 1, which has nothing to expand and no residual."""
        stem = self.stem_channels
        return nn.Sequential(
            conv_norm(self.in_channels, stem, 3, norm, self.stem_stride),
            nn.ReLU6(),
            conv_norm(stem, stem, 3, norm, groups=stem),
            nn.ReLU6(),
            conv_norm(stem, self.first_channels, 1, norm),
        )

    def layer(self, decision: int, choice: int, norm: NormPolicy) -> nn.Module:
        """An inverted residual, or the identity."""
        if choice == SKIP:
            return nn.Identity()
        before, after, stride = self.shapes[decision]
        kernel, expansion = BLOCKS[choice]
        return InvertedResidual(before, after, kernel, expansion, stride, norm, activation=nn.ReLU6)

    def head(self, norm: NormPolicy) -> nn.Module:
        """A 1x1 convolution and the classifier."""
        return nn.Sequential(
            conv_norm(self.channels[-1], self.head_channels, 1, norm),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.head_channels, self.num_classes),
        )


def _label(choice: int) -> str:
    if choice == SKIP:
        return "identity"
    kernel, expansion = BLOCKS[choice]
    return f"MB k{kernel} e{expansion}"


def _choice_cost(shape: Layer, choice: int, size: int) -> Cost:
    if choice == SKIP:
        return Cost(0, 0)
    before, after, stride = shape
    kernel, expansion = BLOCKS[choice]
    return InvertedResidual.cost(before, after, kernel, expansion, size, stride)
