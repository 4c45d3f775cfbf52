"""The networks of NDS: the supernet, and a path alone."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightning_nas.spaces.base import Path
from lightning_nas.spaces.nds_blocks import WIDTH, Block, Channels, Conv
from lightning_nas.spaces.operations import NormPolicy, conv_norm
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice

if TYPE_CHECKING:
    from lightning_nas.spaces.nds import NDS

Function = Callable[[Tensor], Tensor]


def _stem(space: "NDS", norm: NormPolicy) -> nn.Sequential:
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

    def __init__(self, space: "NDS", path: Path, norm: NormPolicy) -> None:
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

    space: "NDS"

    def __init__(self, space: "NDS", norm: NormPolicy) -> None:
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
