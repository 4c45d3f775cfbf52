"""Pooling on ResNet: where a residual network halves its resolution.

The space of Roshtkhari et al., Balanced Mixture of SuperNets, 2023. Pooling owns no weights, so all paths
share everything: the hardest case of weight sharing, and small enough to know its ground truth.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import ChainSupernet, ParameterSlice, Path, SearchSpace
from lightning_nas.spaces.operations import BasicBlock, NormPolicy, conv_norm

NUM_POOLINGS = 2


@dataclass(frozen=True)
class Pooling(SearchSpace):
    """The two layers of a ResNet before which a 2x2 max-pool halves the image.

    One decision, whose choices are the pairs of blocks in lexicographic order: 36 for ResNet-20. Written
    ``4-3-3``: the number of layers at full, half and quarter resolution, the stem counting as a layer.

    Attributes:
        depth: Weight layers, 6n + 2 for n residual blocks per width.
        channels: The three widths.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least 4.

    Raises:
        NASError: A depth, width or image size for which no such network exists.

    Example:
        >>> space = Pooling()
        >>> space.size, space.encode(space[23]), space.cost(space[23])
        (36, '4-3-3', Cost(params=272474, macs=40813184))
    """

    depth: int = 20
    channels: tuple[int, int, int] = (16, 32, 64)
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        if self.depth < 8 or (self.depth - 2) % 6:
            raise NASError(f"Pooling.depth is {self.depth}: valid depths are 8, 14, 20 and so on (6n + 2)")
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise NASError(f"Pooling.channels is {self.channels}: valid are three positive widths")
        if self.image_size < 4:
            raise NASError(f"Pooling.image_size is {self.image_size}: two poolings need at least 4 pixels")
        # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
        object.__setattr__(self, "channels", tuple(self.channels))

    @cached_property
    def _positions(self) -> tuple[tuple[int, ...], ...]:
        """The pooled blocks (from 1) of every path."""
        return tuple(itertools.combinations(range(1, self.num_blocks + 1), NUM_POOLINGS))

    @property
    def num_blocks(self) -> int:
        """Residual blocks of the network."""
        return (self.depth - 2) // 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of the stem and of every block."""
        blocks = (width for width in self.channels for _ in range(self.num_blocks // 3))
        return (self.channels[0], *blocks)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """One decision over all pairs of blocks."""
        return (len(self._positions),)

    def pooled(self, path: Path) -> tuple[bool, ...]:
        """Whether the image is halved before the stem (never) and before every block."""
        return tuple(layer in self._positions[path[0]] for layer in range(self.num_blocks + 1))

    def features(self, path: Path) -> tuple[int, ...]:
        """One bit per block: whether it is pooled."""
        return tuple(int(pooled) for pooled in self.pooled(path)[1:])

    def encode(self, path: Path) -> str:
        """Layers per resolution, such as ``4-3-3``."""
        self.require(path)
        first, second = self._positions[path[0]]
        return f"{first}-{second - first}-{self.num_blocks + 1 - second}"

    def decode(self, text: str) -> Path:
        """The path of a text such as ``4-3-3``.

        Raises:
            NASError: Not three positive counts that add up to the number of layers.
        """
        counts = text.split("-")
        if len(counts) == 3 and all(count.isascii() and count.isdigit() for count in counts):
            first, half, _ = map(int, counts)
            positions = (first, first + half)
            if positions in self._positions and sum(map(int, counts)) == self.num_blocks + 1:
                return (self._positions.index(positions),)
        raise NASError(
            f"architecture {text!r} is not in the space: valid are three positive layer counts that add up to "
            f"{self.num_blocks + 1}, such as {self.encode((0,))!r}"
        )

    def cost(self, path: Path) -> cost.Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        size = self.image_size
        stem, *_ = self.widths
        total = cost.convolution(self.in_channels, stem, kernel=3, size=size) + cost.batch_norm(stem)
        for (before, after), pooled in zip(
            itertools.pairwise(self.widths), self.pooled(path)[1:], strict=True
        ):
            size = size // 2 if pooled else size
            total += cost.convolution(before, after, kernel=3, size=size) + cost.batch_norm(after)
            total += cost.convolution(after, after, kernel=3, size=size) + cost.batch_norm(after)
            if before != after:
                total += cost.convolution(before, after, kernel=1, size=size) + cost.batch_norm(after)
        return total + cost.linear(self.widths[-1], self.num_classes)

    def _supernet(self, norm: NormPolicy) -> "PoolingSupernet":
        return PoolingSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "PoolingNetwork":
        return PoolingNetwork(self, path, norm)


def _layers(space: Pooling, norm: NormPolicy) -> nn.ModuleList:
    """The stem, the blocks and the head: the same modules, by the same names, for every path."""
    stem = nn.Sequential(conv_norm(space.in_channels, space.widths[0], 3, norm), nn.ReLU())
    blocks = [BasicBlock(before, after, norm) for before, after in itertools.pairwise(space.widths)]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(space.widths[-1], space.num_classes)
    )
    return nn.ModuleList([stem, *blocks, head])


def _run(layer: nn.Module, pooled: bool, x: Tensor) -> Tensor:
    y: Tensor = layer(F.max_pool2d(x, 2) if pooled else x)
    return y


class PoolingSupernet(ChainSupernet):
    """One set of weights for all paths."""

    space: Pooling
    layers: nn.ModuleList

    def __init__(self, space: Pooling, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.layers = _layers(space, norm)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """None: pooling owns no weights."""
        return []

    def stages(self, path: Path) -> Sequence[Hashable]:
        """Whether to halve the image before the stem, every block and the head (never)."""
        return (*self.space.pooled(path), False)

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """One layer, after a 2x2 max-pool where ``choice`` is True."""
        return _run(self.layers[depth], bool(choice), x)


class PoolingNetwork(nn.Module):
    """The residual network of one path."""

    def __init__(self, space: Pooling, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.pooled = (*space.pooled(path), False)
        self.layers = _layers(space, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        for layer, pooled in zip(self.layers, self.pooled, strict=True):
            x = _run(layer, pooled, x)
        return x
