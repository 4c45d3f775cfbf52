"""Pooling on ResNet: where a residual network halves its resolution.

The spaces of Roshtkhari et al., Balanced Mixture of SuperNets, 2023. Halving owns no weights, so all paths share
everything: the hardest case of weight sharing, and small enough to know its ground truth.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, cast, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Chain, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import BasicBlock, Bottleneck, NormPolicy, conv_norm
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice

BackboneName = Literal["resnet20", "resnet18", "resnet50"]


class Backbone(NamedTuple):
    """A residual network, and how it is halved.

    Attributes:
        channels: Width of every stage.
        blocks: Residual blocks of every stage.
        block: Their kind.
        halvings: How often the image is halved.
        max_pool: Halve by a 2x2 max-pool before a block, else by the stride of the block's 3x3 convolution.
        count_stem: Whether the text of a path counts the stem as a layer, which is never halved.
    """

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    block: type[BasicBlock] | type[Bottleneck]
    halvings: int
    max_pool: bool
    count_stem: bool


BACKBONES: dict[BackboneName, Backbone] = {
    "resnet20": Backbone((16, 32, 64), (3, 3, 3), BasicBlock, halvings=2, max_pool=True, count_stem=True),
    "resnet18": Backbone(
        (64, 128, 256, 512), (2, 2, 2, 2), BasicBlock, halvings=3, max_pool=False, count_stem=True
    ),
    "resnet50": Backbone(
        (64, 128, 256, 512), (3, 4, 6, 3), Bottleneck, halvings=3, max_pool=False, count_stem=False
    ),
}


@dataclass(frozen=True)
class Pooling(SearchSpace):
    """The blocks of a residual network at which the image is halved.

    One decision, whose choices are the sets of halving blocks in lexicographic order: 36 for ResNet-20, 56 for
    ResNet-18 and 455 for ResNet-50. Written ``4-3-3``: the number of layers at every resolution, the stem counting
    as a layer except in ResNet-50.

    ResNet-20 halves by a 2x2 max-pool, the others by the stride of a 3x3 convolution; the shortcut of a strided
    block takes every other pixel, through a 1x1 convolution where the width changes. All have a 3x3 stem for small
    images.

    Attributes:
        backbone: ``resnet20``, ``resnet18`` or ``resnet50``.
        channels: Width of every stage (before the expansion by 4 in ResNet-50); None is that of the backbone.
        blocks: Residual blocks of every stage; None is that of the backbone.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least 4 for ResNet-20 and 8 for the others.
        released_mask: ResNet-50 as in the released code, whose mask lacks the last block: 91 of the 455 networks,
            those with one block at the lowest resolution, are then halved only twice.

    Raises:
        NASError: Widths, blocks or an image size for which no such network exists.

    Example:
        >>> space = Pooling()
        >>> space.size, space.encode(space[23]), space.cost(space[23])
        (36, '4-3-3', Cost(params=272474, macs=40813184))
        >>> Pooling(backbone="resnet18").encode((41,))
        '3-2-2-2'
    """

    backbone: BackboneName = "resnet20"
    channels: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | None = None
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    released_mask: bool = False

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise NASError(
                f"Pooling.backbone is {self.backbone!r}: valid are {', '.join(get_args(BackboneName))}"
            )
        # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
        object.__setattr__(self, "channels", tuple(self.channels or self._backbone.channels))
        object.__setattr__(self, "blocks", tuple(self.blocks or self._backbone.blocks))
        self._require_positive("num_classes", "in_channels")
        if len(self._channels) != len(self._blocks) or min(*self._channels, *self._blocks) < 1:
            raise NASError(
                f"Pooling.channels is {self.channels} and blocks {self.blocks}: valid are positive numbers, as many "
                "widths as numbers of blocks"
            )
        halvings = self._backbone.halvings
        if self._counted <= halvings:
            raise NASError(
                f"Pooling.blocks is {self.blocks}: halving the image {halvings} times needs at least "
                f"{halvings + 1 - self._backbone.count_stem} blocks"
            )
        if self.image_size < 2**halvings:
            raise NASError(
                f"Pooling.image_size is {self.image_size}: {halvings} halvings need at least {2**halvings} pixels"
            )

    @property
    def _backbone(self) -> Backbone:
        return BACKBONES[self.backbone]

    @property
    def _channels(self) -> tuple[int, ...]:
        return cast(tuple[int, ...], self.channels)

    @property
    def _blocks(self) -> tuple[int, ...]:
        return cast(tuple[int, ...], self.blocks)

    @property
    def num_blocks(self) -> int:
        """Residual blocks of the network."""
        return sum(self._blocks)

    @property
    def _counted(self) -> int:
        """Layers that the text of a path counts."""
        return self.num_blocks + self._backbone.count_stem

    @cached_property
    def _positions(self) -> tuple[tuple[int, ...], ...]:
        """The counted layers, from 0, at which every path halves the image: never the first."""
        return tuple(itertools.combinations(range(1, self._counted), self._backbone.halvings))

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of the stem and of every block."""
        stages = zip(self._channels, self._blocks, strict=True)
        blocks = (width * self._backbone.block.expansion for width, number in stages for _ in range(number))
        return (self._channels[0], *blocks)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """One decision over all sets of blocks."""
        return (len(self._positions),)

    def halved(self, path: Path) -> tuple[bool, ...]:
        """Whether the image is halved at every block."""
        positions = self._positions[path[0]]
        if self.released_mask:
            positions = tuple(position for position in positions if position < self._counted - 1)
        return tuple(layer in positions for layer in range(self._backbone.count_stem, self._counted))

    def features(self, path: Path) -> tuple[int, ...]:
        """One bit per block: whether it halves the image."""
        return tuple(map(int, self.halved(path)))

    def _layer_counts(self, path: Path) -> tuple[int, ...]:
        """Counted layers at every resolution."""
        bounds = (0, *self._positions[path[0]], self._counted)
        return tuple(end - start for start, end in itertools.pairwise(bounds))

    def encode(self, path: Path) -> str:
        """Layers per resolution, such as ``4-3-3``."""
        self.require(path)
        return "-".join(map(str, self._layer_counts(path)))

    def decode(self, text: str) -> Path:
        """The path of a text such as ``4-3-3``.

        Raises:
            NASError: Not as many positive counts as resolutions, or they do not add up to the number of layers.
        """
        counts = text.split("-")
        if all(count.isascii() and count.isdigit() for count in counts):
            *positions, total = itertools.accumulate(map(int, counts))
            if tuple(positions) in self._positions and total == self._counted:
                path = (self._positions.index(tuple(positions)),)
                if self.encode(path) == text:
                    return path
        raise NASError(
            f"architecture {text!r} is not in the space: valid are {self._backbone.halvings + 1} positive layer "
            f"counts that add up to {self._counted}, such as {self.encode((0,))!r}"
        )

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        return self._costs[path[0]]

    @cached_property
    def _costs(self) -> tuple[Cost, ...]:
        """The cost of every path."""
        return tuple(map(self._cost, self))

    def _cost(self, path: Path) -> Cost:
        size = self.image_size
        stem, *_ = self.widths
        total = cost.convolution(self.in_channels, stem, kernel=3, size=size) + cost.batch_norm(stem)
        for (before, after), halved in zip(itertools.pairwise(self.widths), self.halved(path), strict=True):
            if halved and self._backbone.max_pool:
                size, halved = size // 2, False
            total += self._backbone.block.cost(before, after, size, stride=2 if halved else 1)
            size = -(-size // 2) if halved else size
        return total + cost.linear(self.widths[-1], self.num_classes)

    def outline(self, path: Path) -> Chain:
        """A row per resolution."""
        labels = ["stem"] * self._backbone.count_stem + [f"block, {width}" for width in self.widths[1:]]
        sizes = [self.image_size]
        rows: list[list[str]] = [labels[: self._backbone.count_stem]]
        for label, halved in zip(labels[self._backbone.count_stem :], self.halved(path), strict=True):
            if halved:
                rows.append([])
                sizes.append(sizes[-1] // 2 if self._backbone.max_pool else -(-sizes[-1] // 2))
            rows[-1].append(label)
        return Chain(tuple(f"{size} x {size}" for size in sizes), tuple(map(tuple, rows)))

    def _supernet(self, norm: NormPolicy) -> "PoolingSupernet":
        return PoolingSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "PoolingNetwork":
        return PoolingNetwork(self, path, norm)


def _layers(space: Pooling, norm: NormPolicy) -> nn.ModuleList:
    """The stem, the blocks and the head: the same modules, by the same names, for every path."""
    stem = nn.Sequential(conv_norm(space.in_channels, space.widths[0], 3, norm), nn.ReLU())
    block = BACKBONES[space.backbone].block
    blocks = [block(before, after, norm) for before, after in itertools.pairwise(space.widths)]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(space.widths[-1], space.num_classes)
    )
    return nn.ModuleList([stem, *blocks, head])


def _run(layer: nn.Module, halved: bool, max_pool: bool, x: Tensor) -> Tensor:
    if not halved:
        return cast(Tensor, layer(x))
    return cast(Tensor, layer(F.max_pool2d(x, 2)) if max_pool else layer(x, stride=2))


class PoolingSupernet(ChainSupernet):
    """One set of weights for all paths."""

    space: Pooling

    def __init__(self, space: Pooling, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.layers = _layers(space, norm)
        self.max_pool = BACKBONES[space.backbone].max_pool

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """None: halving owns no weights."""
        return []

    def stages(self, path: Path) -> Sequence[Hashable]:
        """Whether to halve the image at the stem (never), every block and the head (never)."""
        return (False, *self.space.halved(path), False)

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """One layer, which halves the image where ``choice`` is True."""
        return _run(self.layers[depth], bool(choice), self.max_pool, x)


class PoolingNetwork(nn.Module):
    """The residual network of one path."""

    def __init__(self, space: Pooling, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.halved = (False, *space.halved(path), False)
        self.layers = _layers(space, norm)
        self.max_pool = BACKBONES[space.backbone].max_pool

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        for layer, halved in zip(self.layers, self.halved, strict=True):
            x = _run(layer, halved, self.max_pool, x)
        return x
