"""NDS ResNet and ResNeXt-A: how deep and how wide the stages of a residual network are.

Radosavovic et al., On Network Design Spaces for Visual Recognition, ICCV 2019, with the weight sharing of Ning et
al., Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021, App. C. Every path uses
slices of the same tensors: the first blocks of a stage, and some of the channels of every block.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, NamedTuple

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Chain, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.nds_blocks import WIDTH, Block, Channels, Conv, Stage
from lightning_nas.spaces.nds_networks import NDSNetwork, NDSSupernet
from lightning_nas.spaces.operations import NormPolicy

Picking = Literal["ordinal", "l1"]


class Field(NamedTuple):
    """What is chosen in every stage.

    Attributes:
        letter: Its mark in the text of a path.
        name: Its name in messages.
        values: What it can be, in ascending order.
    """

    letter: str
    name: str
    values: tuple[float, ...]


class NDS(SearchSpace):
    """What both spaces share: a stem, stages of residual blocks, and a linear classifier.

    The choices of a path come stage by stage, so that paths which begin alike share what they compute.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int
    strides: tuple[int, ...]
    picking: Picking

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """What is chosen in every stage: the depth, the width, and what else there is."""

    @abstractmethod
    def _stage(self, choices: Path) -> Stage:
        """The sizes of a stage under its choices."""

    @abstractmethod
    def _branch(self, before: Channels, after: Channels, stage: Stage, stride: int) -> tuple[Conv, ...]:
        """The convolutions of a block from ``before`` to ``after``."""

    @abstractmethod
    def _label(self, stage: Stage) -> str:
        """What a drawing calls a block."""

    def _check(self) -> None:
        """Makes tuples of lists and refuses sizes of which no such network can be built."""
        name = type(self).__name__
        # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
        for field in ("depths", "widths", "strides"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for field in ("depths", "widths"):
            _require_sizes(f"{name}.{field}", getattr(self, field))
        if not self.strides or min(self.strides) < 1:
            raise NASError(f"{name}.strides is {self.strides}: valid are positive numbers, one per stage")
        self._require_positive("stem_width", "num_classes", "in_channels")
        if self.picking not in ("ordinal", "l1"):
            raise NASError(f"{name}.picking is {self.picking!r}: valid are 'ordinal' and 'l1'")
        if self.image_size < math.prod(self.strides):
            raise NASError(
                f"{name}.image_size is {self.image_size}: strides {self.strides} need at least "
                f"{math.prod(self.strides)} pixels"
            )

    @property
    def num_choices(self) -> tuple[int, ...]:
        """The values of every field, stage by stage."""
        return tuple(len(field.values) for field in self.fields) * len(self.strides)

    def _by_stage(self, path: Path) -> list[Path]:
        """The choices of every stage."""
        number = len(self.fields)
        return [path[start : start + number] for start in range(0, len(path), number)]

    def stages(self, path: Path) -> tuple[Stage, ...]:
        """The sizes of every stage."""
        return tuple(self._stage(choices) for choices in self._by_stage(path))

    def encode(self, path: Path) -> str:
        """The values of every field, in the order of the stages."""
        self.require(path)
        rows = zip(*self._by_stage(path), strict=True)
        return "_".join(
            field.letter + "-".join(_text(field.values[choice]) for choice in row)
            for field, row in zip(self.fields, rows, strict=True)
        )

    def decode(self, text: str) -> Path:
        """The path of a text as ``encode`` writes it.

        Raises:
            NASError: A text of another form, or a value that its field does not have.
        """
        rows = []
        parts = text.split("_")
        for field, part in zip(self.fields, parts, strict=False):
            values = part[1:].split("-")
            if part[:1] != field.letter or len(values) != len(self.strides):
                raise NASError(
                    f"architecture {text!r} has {part!r} for the {field.name} of its stages: valid is "
                    f"{field.letter!r} and {len(self.strides)} values with '-' between, one per stage"
                )
            known = [_text(value) for value in field.values]
            for stage, value in enumerate(values):
                if value not in known:
                    raise NASError(
                        f"architecture {text!r} has {field.name} {value!r} in stage {stage}: valid are "
                        f"{', '.join(known)}"
                    )
            rows.append([known.index(value) for value in values])
        if len(parts) != len(self.fields):
            raise NASError(
                f"architecture {text!r} has {len(parts)} parts with '_' between: valid are {len(self.fields)}, such "
                f"as {self.encode(self[0])!r}"
            )
        return tuple(choice for stage in zip(*rows, strict=True) for choice in stage)

    # ------------------------------------------------------------------------------------ shapes and costs

    def stage_blocks(self, number: int, before: Channels, stage: Stage) -> Iterator[Block]:
        """The blocks of stage ``number`` for its input channels and sizes."""
        stride, after = self.strides[number], Channels(stage.width, number)
        for position in range(stage.depth):
            yield Block(number, position, self._branch(before, after, stage, stride))
            before, stride = after, 1

    def blocks(self, stages: Sequence[Stage]) -> tuple[Block, ...]:
        """The blocks of a network with these stages."""
        before, blocks = Channels(self.stem_width), list[Block]()
        for number, stage in enumerate(stages):
            blocks += self.stage_blocks(number, before, stage)
            before = blocks[-1].outputs
        return tuple(blocks)

    @cached_property
    def largest(self) -> Stage:
        """A stage that holds the tensors of all others: as deep and wide as any, and its groups not split."""
        depths, widths, inners, _ = zip(*map(self._stage, self.stage_choices), strict=True)
        return Stage(max(depths), max(widths), max(inners), groups=1)

    @property
    def stage_choices(self) -> Iterator[Path]:
        """All choices of a stage."""
        return product(*(range(len(field.values)) for field in self.fields))

    def reached_blocks(self, number: int, field: int, choice: int) -> Iterator[Block]:
        """All blocks that stage ``number`` can have under a choice of one of its fields.

        If that is the width, also those that can follow the stage.
        """
        befores = [Channels(self.stem_width)]
        if number:
            befores = [Channels(width, number - 1) for width in self.widths]
        for choices in self.stage_choices:
            stage = self._stage(choices)
            if choices[field] == choice:
                for before in befores:
                    yield from self.stage_blocks(number, before, stage)
            if field == WIDTH and number + 1 < len(self.strides):
                after = Channels(self.widths[choice], number)
                yield from self.stage_blocks(number + 1, after, stage._replace(depth=1))

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        stem, stages = self._costs
        before, total = self.stem_width, stem
        for number, choices in enumerate(self._by_stage(path)):
            total += stages[number, before, choices]
            before = self.widths[choices[WIDTH]]
        return total + cost.linear(before, self.num_classes)

    @cached_property
    def _costs(self) -> tuple[Cost, dict[tuple[int, int, Path], Cost]]:
        """The stem, and every stage by its number, the width before it and its choices."""
        size = self.image_size
        stem = Conv(Channels(self.in_channels), Channels(self.stem_width), kernel=3).cost(size)
        stages = {}
        for number, stride in enumerate(self.strides):
            after = -(-size // stride)
            for before in self.widths if number else (self.stem_width,):
                for choices in self.stage_choices:
                    stage = self._stage(choices)
                    # All blocks but the first are alike.
                    two = self.stage_blocks(number, Channels(before), stage._replace(depth=2))
                    first, other = next(two).cost(size), next(two).cost(after)
                    more = Cost((stage.depth - 1) * other.params, (stage.depth - 1) * other.macs)
                    stages[number, before, choices] = first + more
            size = after
        return stem, stages

    def outline(self, path: Path) -> Chain:
        """A row per stage."""
        titles, rows, size = [], [], self.image_size
        for stride, stage in zip(self.strides, self.stages(path), strict=True):
            size = -(-size // stride)
            titles.append(f"{stage.width} channels, {size} x {size}")
            rows.append((self._label(stage),) * stage.depth)
        return Chain(tuple(titles), tuple(rows))

    def _supernet(self, norm: NormPolicy) -> NDSSupernet:
        return NDSSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> NDSNetwork:
        return NDSNetwork(self, path, norm)


@dataclass(frozen=True)
class NDSResNet(NDS):
    """Depth and width of three stages of basic blocks: (9 * 12)^3 = 1,259,712 networks.

    A block is two 3x3 convolutions beside a shortcut, which is the identity, or a 1x1 convolution with batch-norm
    where width or resolution change. Written as the depths and the widths of the stages, ``ds`` and ``ws`` of the
    NDS files without their first entry, the stem: ``d3-3-3_w16-32-64``.

    Attributes:
        depths: Blocks that a stage can have, in ascending order.
        widths: Channels that a stage can have, in ascending order.
        stem_width: Channels of the 3x3 convolution before the first stage.
        strides: By how much the first block of every stage divides the image.
        picking: Which channels of the shared tensors a narrower stage uses. ``ordinal``: the first. ``l1``: those
            with the largest L1 norm; see `NDSSupernet`.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least the product of the strides.

    Raises:
        NASError: Sizes of which no such network can be built.

    Example:
        >>> space = NDSResNet()
        >>> space.size, space.cost(space.decode("d3-3-3_w16-32-64"))
        (1259712, Cost(params=272474, macs=40813184))
    """

    depths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24)
    widths: tuple[int, ...] = (16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256)
    stem_width: int = 16
    strides: tuple[int, ...] = (1, 2, 2)
    picking: Picking = "ordinal"
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        self._check()

    @property
    def fields(self) -> tuple[Field, ...]:
        """Depth and width."""
        return Field("d", "depth", self.depths), Field("w", "width", self.widths)

    def _stage(self, choices: Path) -> Stage:
        depth, width = choices
        return Stage(self.depths[depth], self.widths[width], inner=self.widths[width], groups=1)

    def _branch(self, before: Channels, after: Channels, stage: Stage, stride: int) -> tuple[Conv, ...]:
        return Conv(before, after, 3, stride), Conv(after, after, 3)

    def _label(self, stage: Stage) -> str:
        return "basic"


@dataclass(frozen=True)
class NDSResNeXt(NDS):
    """ResNeXt-A: depth, width, bottleneck and groups of three stages, (5 * 5 * 3 * 3)^3 = 11,390,625 networks.

    A block is a 1x1 convolution to width * ratio channels (rounded), a 3x3 convolution in groups, which also has the
    stride, and a 1x1 convolution to the width, beside a shortcut as in `NDSResNet`. Written as the depths, widths,
    bottleneck ratios and groups of the stages, ``ds``, ``ws``, ``bot_muls`` and ``num_gs`` of the NDS files without
    their first entry, the stem: ``d2-2-2_w64-128-256_r0.5-0.5-0.5_g4-4-4``.

    Attributes:
        depths: Blocks that a stage can have, in ascending order.
        widths: Channels that a stage can have, in ascending order.
        ratios: Channels within a bottleneck, divided by those of its stage, in ascending order.
        groups: Groups that the 3x3 convolutions can have, in ascending order; they divide every width * ratio.
        stem_width: Channels of the 3x3 convolution before the first stage.
        strides: By how much the first block of every stage divides the image.
        picking: Which channels of the shared tensors a narrower stage uses. ``ordinal``: the first. ``l1``: those
            with the largest L1 norm; see `NDSSupernet`. Those within a bottleneck are always the first.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, at least the product of the strides.

    Raises:
        NASError: Sizes of which no such network can be built.

    Example:
        >>> space = NDSResNeXt()
        >>> space.size, space.cost(space.decode("d2-2-2_w64-128-256_r0.5-0.5-0.5_g4-4-4"))
        (11390625, Cost(params=296282, macs=47630848))
    """

    depths: tuple[int, ...] = (1, 2, 4, 8, 16)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    ratios: tuple[float, ...] = (0.25, 0.5, 1.0)
    groups: tuple[int, ...] = (1, 2, 4)
    stem_width: int = 16
    strides: tuple[int, ...] = (1, 2, 2)
    picking: Picking = "ordinal"
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "ratios", tuple(map(float, self.ratios)))
        object.__setattr__(self, "groups", tuple(self.groups))
        _require_sizes("NDSResNeXt.ratios", self.ratios)
        _require_sizes("NDSResNeXt.groups", self.groups)
        for width, ratio, groups in product(self.widths, self.ratios, self.groups):
            inner = round(width * ratio)
            if inner < 1:
                raise NASError(
                    f"NDSResNeXt.ratios has {_text(ratio)}, which leaves no channel of width {width}: valid are ratios "
                    "that leave at least one of every width"
                )
            if inner % groups:
                raise NASError(
                    f"NDSResNeXt.groups has {groups}, but width {width} and ratio {_text(ratio)} make a bottleneck of "
                    f"{inner} channels: valid are numbers that divide every rounded width * ratio"
                )

    @property
    def fields(self) -> tuple[Field, ...]:
        """Depth, width, bottleneck ratio and number of groups."""
        return (
            Field("d", "depth", self.depths),
            Field("w", "width", self.widths),
            Field("r", "bottleneck ratio", self.ratios),
            Field("g", "number of groups", self.groups),
        )

    def _stage(self, choices: Path) -> Stage:
        depth, width, ratio, groups = choices
        inner = round(self.widths[width] * self.ratios[ratio])
        return Stage(self.depths[depth], self.widths[width], inner, self.groups[groups])

    def _branch(self, before: Channels, after: Channels, stage: Stage, stride: int) -> tuple[Conv, ...]:
        inner = Channels(stage.inner)
        return Conv(before, inner, 1), Conv(inner, inner, 3, stride, stage.groups), Conv(inner, after, 1)

    def _label(self, stage: Stage) -> str:
        return f"bottleneck {stage.inner}, groups {stage.groups}"

    def canonical(self, path: Path) -> tuple[Stage, ...]:
        """The sizes of the stages, which two ratios share where rounding makes the same bottleneck of them.

        It never does at the published size.
        """
        return self.stages(path)

    def functional_key(self, path: Path) -> tuple[Stage, ...]:
        """The sizes of the stages: they say which slices of the shared tensors a path uses."""
        return self.stages(path)

    def class_size(self, path: Path) -> int:
        """The number of ways to choose ratios that make the same bottlenecks."""
        return math.prod(
            sum(round(stage.width * ratio) == stage.inner for ratio in self.ratios)
            for stage in self.stages(path)
        )


def _text(value: float) -> str:
    return str(value).removesuffix(".0")


def _require_sizes(name: str, values: tuple[float, ...]) -> None:
    if not values or min(values) <= 0 or list(values) != sorted(set(values)):
        raise NASError(f"{name} is {values}: valid are different positive numbers in ascending order")
