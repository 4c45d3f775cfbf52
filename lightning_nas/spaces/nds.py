"""NDS ResNet and ResNeXt-A: how deep and how wide the stages of a residual network are.

Radosavovic et al., On Network Design Spaces for Visual Recognition, ICCV 2019, with the weight sharing of Ning et
al., Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021, App. C. Every path uses
slices of the same tensors: the first blocks of a stage, and some of the channels of every block.
"""

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Chain, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice

Picking = Literal["ordinal", "l1"]
Function = Callable[[Tensor], Tensor]

WIDTH = 1
"""The position of the width among the choices of a stage."""


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


class Stage(NamedTuple):
    """The sizes of a stage.

    Attributes:
        depth: Blocks.
        width: Channels between blocks.
        inner: Channels within a bottleneck.
        groups: Groups of the convolution within a bottleneck.
    """

    depth: int
    width: int
    inner: int
    groups: int


class Channels(NamedTuple):
    """Channels at one place of the network.

    Attributes:
        number: How many of them.
        stage: The stage whose output they are, and which says which ones; None if they are always the first.
    """

    number: int
    stage: int | None = None


class Conv(NamedTuple):
    """The shape of a convolution that is followed by a batch-norm."""

    inputs: Channels
    outputs: Channels
    kernel: int
    stride: int = 1
    groups: int = 1

    def build(self, norm: NormPolicy) -> nn.Sequential:
        """The layers of this shape."""
        return conv_norm(self.inputs.number, self.outputs.number, self.kernel, norm, self.stride, self.groups)

    def cost(self, size: int) -> Cost:
        """Parameters and multiply-adds for an output of ``size`` x ``size``."""
        inputs, outputs = self.inputs.number, self.outputs.number
        conv = cost.convolution(inputs, outputs, kernel=self.kernel, size=size, groups=self.groups)
        return conv + cost.batch_norm(outputs)


class Block(NamedTuple):
    """The shape of a residual block.

    Attributes:
        stage: The stage it stands in, from 0.
        number: Its position there, from 0.
        branch: Its convolutions, without the shortcut.
    """

    stage: int
    number: int
    branch: tuple[Conv, ...]

    @property
    def name(self) -> str:
        """Its name among the blocks of a network."""
        return f"{self.stage}-{self.number}"

    @property
    def outputs(self) -> Channels:
        """The channels after it."""
        return self.branch[-1].outputs

    @property
    def shortcut(self) -> Conv:
        """The 1x1 convolution beside the branch."""
        stride = math.prod(conv.stride for conv in self.branch)
        return Conv(self.branch[0].inputs, self.outputs, kernel=1, stride=stride)

    @property
    def projects(self) -> bool:
        """Whether the shortcut is needed, because the branch changes the shape."""
        inputs, outputs, _, stride, _ = self.shortcut
        return inputs.number != outputs.number or stride != 1

    def cost(self, size: int) -> Cost:
        """Parameters and multiply-adds for an input of ``size`` x ``size``."""
        total = Cost(0, 0)
        for conv in self.branch:
            size = -(-size // conv.stride)
            total += conv.cost(size)
        return total + self.shortcut.cost(size) if self.projects else total


class _NDS(SearchSpace):
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

    def _supernet(self, norm: NormPolicy) -> "NDSSupernet":
        return NDSSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "NDSNetwork":
        return NDSNetwork(self, path, norm)


@dataclass(frozen=True)
class NDSResNet(_NDS):
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
class NDSResNeXt(_NDS):
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


# ------------------------------------------------------------------------------------------------- networks


def _stem(space: _NDS, norm: NormPolicy) -> nn.Sequential:
    return nn.Sequential(conv_norm(space.in_channels, space.stem_width, 3, norm), nn.ReLU())


def _residual(x: Tensor, branch: Sequence[Function], shortcut: Function) -> Tensor:
    first, *others = branch
    y = first(x)
    for layer in others:
        y = layer(y.relu())
    return (y + shortcut(x)).relu()


class ResidualBlock(nn.Module):
    """The layers of a block: a branch, and a shortcut that may be the identity."""

    def __init__(self, branch: Sequence[Conv], shortcut: Conv | None, norm: NormPolicy) -> None:
        super().__init__()
        self.branch = nn.ModuleList(conv.build(norm) for conv in branch)
        self.shortcut = nn.Identity() if shortcut is None else shortcut.build(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H/stride x W/stride."""
        return _residual(x, list(self.branch), self.shortcut)


class NDSNetwork(nn.Module):
    """The network of one path, its weights named as in the supernet."""

    def __init__(self, space: _NDS, path: Path, norm: NormPolicy) -> None:
        super().__init__()
        self.stem = _stem(space, norm)
        self.blocks = nn.ModuleDict()
        for block in space.blocks(space.stages(path)):
            shortcut = block.shortcut if block.projects else None
            self.blocks[block.name] = ResidualBlock(block.branch, shortcut, norm)
        self.head = nn.Linear(block.outputs.number, space.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        x = self.stem(x)
        for block in self.blocks.values():
            x = block(x)
        return cast(Tensor, self.head(x.mean((2, 3))))


Index = slice | Tensor
"""Which of the stored channels are meant."""


class Layer(NamedTuple):
    """Stored layers, and the shape in which a path uses them."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    shape: Conv

    @staticmethod
    def of(stored: nn.Module, shape: Conv) -> "Layer":
        """The two layers that ``Conv.build`` made, in a shape that may be smaller."""
        conv, norm = cast(nn.Sequential, stored)
        return Layer(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm), shape)


class NDSSupernet(ChainSupernet):
    """The tensors of the largest network, of which every path uses slices.

    A path of depth d runs the first d blocks of a stage. Blocks are stored with the channels of the widest stage and
    bottleneck; a path uses the first ones. Convolutions are stored ungrouped: with g groups, filter i of the C that
    are stored uses the inputs of part floor(i * g / C) of g equal parts, and of these the first ones, as many as a
    group of the path has. So do the paper (App. C) and the released code. The first block of every stage has a shortcut
    convolution, which a path uses only where width or resolution change (in the released supernet always, but not
    in the networks of the benchmark).

    With L1 picking, a stage of w channels uses those w whose filters in its shortcut convolution have the largest L1
    norm at that moment; of equal ones the first. Everything that writes or reads the output of the stage agrees on
    them. So does the released code, but there the norm is that of the inputs in use instead of all that are stored.
    Within a bottleneck a path uses the first channels in any case, since picking by norm and choosing groups do
    not go together (App. C).
    """

    space: _NDS

    def __init__(self, space: _NDS, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.stem = _stem(space, norm)
        self.blocks = nn.ModuleDict()
        for block in space.blocks([space.largest] * len(space.strides)):
            # These blocks only hold tensors: `run_stage` uses slices of them.
            shortcut = block.shortcut if block.number == 0 else None
            self.blocks[block.name] = ResidualBlock(block.branch, shortcut, norm)
        self.head = nn.Linear(space.largest.width, space.num_classes)

    # -------------------------------------------------------------------------------------- what a path uses

    def _layers(self, block: Block) -> dict[str, Layer]:
        """What a block uses, by its name there; the shortcut comes last."""
        shapes = {f"branch.{i}": conv for i, conv in enumerate(block.branch)}
        if block.projects:
            shapes["shortcut"] = block.shortcut
        stored = self.blocks[block.name]
        return {name: Layer.of(stored.get_submodule(name), shape) for name, shape in shapes.items()}

    def _index(self, channels: Channels) -> Index:
        if channels.stage is None or self.space.picking == "ordinal":
            return slice(channels.number)
        filters = self.get_parameter(f"blocks.{channels.stage}-0.shortcut.0.weight").detach()
        norms = filters.abs().sum(dim=(1, 2, 3))
        return norms.argsort(descending=True, stable=True)[: channels.number].sort().values

    def _weight_index(self, layer: Layer) -> tuple[Index, Index]:
        """Which filters of the stored tensor are used, and which inputs of each."""
        (stored_outputs, stored_inputs, *_), groups = layer.conv.weight.shape, layer.shape.groups
        if groups > 1:
            filters = torch.arange(layer.shape.outputs.number, device=layer.conv.weight.device)[:, None]
            part = filters * groups // stored_outputs
            first = torch.arange(layer.shape.inputs.number // groups, device=filters.device)
            return filters, part * (stored_inputs // groups) + first
        outputs, inputs = self._index(layer.shape.outputs), self._index(layer.shape.inputs)
        if isinstance(outputs, Tensor) and isinstance(inputs, Tensor):
            return outputs[:, None], inputs
        return outputs, inputs

    def _weight(self, layer: Layer) -> Tensor:
        """The weight of a convolution, outputs x inputs / groups x kernel x kernel."""
        # Kernels may add up strided weights in another order than those of the extracted network.
        return layer.conv.weight[self._weight_index(layer)].contiguous()

    def _head_index(self, channels: Channels) -> tuple[slice, Index]:
        return slice(None), self._index(channels)

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """Stem, head, and the tensors of which the path uses slices."""
        blocks = self.space.blocks(self.space.stages(path))
        layers = [layer for block in blocks for layer in self._layers(block).values()]
        modules = (self.stem, *(module for layer in layers for module in layer[:2]), self.head)
        return [parameter for module in modules for parameter in module.parameters()]

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """What the paths with this choice use of its stage, taken together.

        Everything else being as large as it can be, of a depth these are the tensors of its blocks, and of other
        choices slices in all blocks; a width also has its slices of what reads the output of the stage. With L1
        picking they follow the norms of the moment.
        """
        number, field = divmod(decision, len(self.space.fields))
        used = defaultdict[nn.Conv2d, set[Layer]](set)
        for block in self.space.reached_blocks(number, field, choice):
            for layer in self._layers(block).values():
                if number in (block.stage, layer.shape.inputs.stage):
                    used[layer.conv].add(layer)
        parts = [part for layers in used.values() for part in self._parts(layers)]
        if field == WIDTH and number == len(self.space.strides) - 1:
            width = Channels(self.space.widths[choice], number)
            parts.append(ParameterSlice(cast(nn.Parameter, self.head.weight), self._head_index(width)))
        return parts

    def _parts(self, layers: Collection[Layer]) -> Iterator[ParameterSlice]:
        """What several shapes use of the same layers."""
        largest = max(layers, key=lambda layer: layer.shape)
        weight = cast(nn.Parameter, largest.conv.weight)
        if all(layer.shape.groups == 1 for layer in layers):
            yield ParameterSlice(weight, self._weight_index(largest))
        else:
            used = torch.zeros(weight.shape[:2], dtype=torch.bool, device=weight.device)
            for layer in layers:
                used[self._weight_index(layer)] = True
            yield ParameterSlice(weight, used)
        for parameter in largest.norm.parameters():
            yield ParameterSlice(parameter, self._index(largest.shape.outputs))

    def _inherited(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The slices that ``path`` uses, named as in its stand-alone network."""
        tensors = {f"stem.{name}": tensor for name, tensor in self.stem.state_dict().items()}
        for block in self.space.blocks(self.space.stages(path)):
            for name, layer in self._layers(block).items():
                prefix, kept = f"blocks.{block.name}.{name}", self._index(layer.shape.outputs)
                tensors[f"{prefix}.0.weight"] = self._weight(layer)
                for key, tensor in layer.norm.state_dict().items():
                    tensors[f"{prefix}.1.{key}"] = tensor[kept] if tensor.ndim else tensor
        tensors["head.weight"] = self.head.weight[self._head_index(block.outputs)]
        return tensors | {"head.bias": self.head.bias}

    # ------------------------------------------------------------------------------------------ running a path

    def stages(self, path: Path) -> Sequence[Hashable]:
        """Stem, every block, and the channels that the head reads."""
        blocks = self.space.blocks(self.space.stages(path))
        return ("stem", *blocks, blocks[-1].outputs)

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """The output of the stem, of a block, or of the head."""
        if isinstance(choice, Block):
            layers = [partial(self._run, layer) for layer in self._layers(choice).values()]
            shortcut = layers.pop() if choice.projects else nn.Identity()
            return _residual(x, layers, shortcut)
        if isinstance(choice, Channels):
            weight = self.head.weight[self._head_index(choice)].contiguous()
            return F.linear(x.mean((2, 3)), weight, self.head.bias)
        return cast(Tensor, self.stem(x))

    def _run(self, layer: Layer, x: Tensor) -> Tensor:
        _, norm, shape = layer
        x = F.conv2d(x, self._weight(layer), None, shape.stride, shape.kernel // 2, groups=shape.groups)
        return _normalise(norm, self._index(shape.outputs), x)


def _normalise(norm: nn.BatchNorm2d, channels: Index, x: Tensor) -> Tensor:
    """Batch-norm with some of the stored channels."""
    stored = {**dict(norm.named_parameters()), **dict(norm.named_buffers())}
    used = {name: tensor[channels] for name, tensor in stored.items() if tensor.ndim}
    y: Tensor = functional_call(norm, used, x)
    if norm.training and isinstance(channels, Tensor):
        # Running statistics were updated in place; where they are copies and no views, that is to be stored.
        for name in used.keys() & dict(norm.named_buffers()).keys():
            stored[name][channels] = used[name]
    return y
