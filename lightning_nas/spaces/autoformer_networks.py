"""The networks of AutoFormer: the supernet, and a path alone."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightning_nas.spaces.base import Path
from lightning_nas.spaces.operations import NormPolicy
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice

if TYPE_CHECKING:
    from lightning_nas.spaces.autoformer import AutoFormer

EMBED, DEPTH, LAYERS = 0, 1, 2
"""The decisions: the width, the depth, and from the third on heads and MLP ratio of every layer in turn."""


class Stage(NamedTuple):
    """The size of one part of a network.

    Attributes:
        name: Of the part: ``patches``, ``layers.0`` and so on, or ``head``.
        embed: Channels of a token.
        heads: Attention heads of a layer; elsewhere 0.
        hidden: Hidden units of a layer's MLP; elsewhere 0.
    """

    name: str
    embed: int
    heads: int = 0
    hidden: int = 0


class Patches(nn.Module):
    """Embeds patches as tokens, and adds a class token before them and the positions to all."""

    def __init__(self, space: "AutoFormer", embed: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(space.in_channels, embed, space.patch_size, stride=space.patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, embed))
        self.positions = nn.Parameter(torch.empty(1, space.grid**2 + 1, embed))
        _initialise(self.class_token, self.positions)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N x C x H x W) to tokens (N x T x embed)."""
        patches = self.projection(x).flatten(2).transpose(1, 2)
        # A program for any number of images asks for the shape: the length is a number of this call.
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1) + self.positions


class TransformerLayer(nn.Module):
    """Attention with relative positions, then an MLP, each after a layer norm and beside a residual.

    A relative position is the sum of two vectors of the layer's tables, one for the rows and one for the columns
    between two patches (Shaw et al., Self-Attention with Relative Position Representations, 2018, along two axes).
    """

    distances: Tensor

    def __init__(self, space: "AutoFormer", embed: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, attention = heads, heads * space.head_dim
        self.attention_norm = nn.LayerNorm(embed)
        self.qkv = nn.Linear(embed, 3 * attention)
        self.project = nn.Linear(attention, embed)
        self.mlp_norm = nn.LayerNorm(embed)
        self.expand = nn.Linear(embed, hidden)
        self.contract = nn.Linear(hidden, embed)
        rows = 2 * space.max_distance + 2
        self.key_tables = nn.Parameter(torch.empty(2, rows, space.head_dim))
        self.value_tables = nn.Parameter(torch.empty(2, rows, space.head_dim))
        self.register_buffer("distances", _distances(space.grid, space.max_distance), persistent=False)
        for linear in (self.qkv, self.project, self.expand, self.contract):
            _initialise(linear.weight)
            nn.init.zeros_(linear.bias)
        _initialise(self.key_tables, self.value_tables)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (N x T x embed) to tokens."""
        x = x + self._attend(self.attention_norm(x))
        y: Tensor = self.contract(F.gelu(self.expand(self.mlp_norm(x))))
        return x + y

    def _attend(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each N x heads x T x head_dim
        rows, columns = self.distances
        keys = self.key_tables[0][rows] + self.key_tables[1][columns]
        values = self.value_tables[0][rows] + self.value_tables[1][columns]
        scores = q @ k.transpose(-2, -1) + torch.einsum("nhqd,qkd->nhqk", q, keys)
        weights = (scores / q.shape[-1] ** 0.5).softmax(dim=-1)
        y = weights @ v + torch.einsum("nhqk,qkd->nhqd", weights, values)
        return cast(Tensor, self.project(y.transpose(1, 2).flatten(2)))


class Head(nn.Module):
    """Classifies the mean of the patches."""

    def __init__(self, space: "AutoFormer", embed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed)
        self.classifier = nn.Linear(embed, space.num_classes)
        _initialise(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (N x T x embed) to logits (N x classes)."""
        return cast(Tensor, self.classifier(self.norm(x)[:, 1:].mean(dim=1)))


def _initialise(*weights: Tensor) -> None:
    for weight in weights:
        nn.init.trunc_normal_(weight, std=0.02)


def _distances(grid: int, max_distance: int) -> Tensor:
    """Where the tables hold the rows and the columns from a token to another (2 x T x T).

    Distances are clipped; entry 0 of the tables is for all pairs with the class token.
    """
    axis = torch.arange(grid)
    places = torch.stack([axis.repeat_interleave(grid), axis.repeat(grid)])
    steps = places[:, None, :] - places[:, :, None]
    return F.pad(steps.clamp(-max_distance, max_distance) + max_distance + 1, (1, 0, 1, 0))


def _module(space: "AutoFormer", stage: Stage) -> nn.Module:
    """One part of a network, of its size."""
    if stage.heads:
        return TransformerLayer(space, stage.embed, stage.heads, stage.hidden)
    return (Patches if stage.name == "patches" else Head)(space, stage.embed)


def _parts(space: "AutoFormer", path: Path) -> tuple[nn.Module, nn.ModuleList, nn.Module]:
    """Patch embedding, layers and head of a network."""
    patches, *layers, head = (_module(space, stage) for stage in space.stages(path))
    return patches, nn.ModuleList(layers), head


@cache
def _skeleton(space: "AutoFormer", stage: Stage) -> nn.Module:
    """One part of a network, of its size, but without memory for weights."""
    with torch.device("meta"):
        return _module(space, stage)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return itertools.chain(module.named_parameters(), module.named_buffers())


def _leading(shape: Sequence[int]) -> tuple[slice, ...]:
    """The index of the first entries along every dimension."""
    return tuple(map(slice, shape))


def _slice(name: str, largest: Tensor, shape: Sequence[int]) -> Tensor:
    """The part of the supernet's tensor that a network with a tensor of ``shape`` uses."""
    part = largest[_leading(shape)]
    if name.endswith("qkv.weight"):
        # The supernet's rows are q, k, v, q, k, v, ...: so the first rows hold the first heads of all three.
        part = torch.cat([part[first::3] for first in range(3)])
    # A layer's result may depend on the layout of its weights in the last bit.
    return part.contiguous()


class AutoFormerSupernet(ChainSupernet):
    """One network of the largest size; every path uses the first entries of its tensors ("weight entanglement").

    As in the released code, the rows of queries, keys and values alternate in the shared weight, while their shared
    bias is one list of which a path uses the beginning: what is a bias of keys with 4 heads may be one of values with
    3. Nothing is rescaled. The released supernet has 256 channels, of which no path uses the last 16; this one has as
    many as the widest path.

    There is no batch-norm: the norm policy means nothing here. Layer norms always have a scale and a shift.
    """

    space: "AutoFormer"
    layers: nn.ModuleList

    def __init__(self, space: "AutoFormer", norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.patches, self.layers, self.head = _parts(space, self._largest)

    @property
    def _largest(self) -> Path:
        return tuple(number - 1 for number in self.space.num_choices)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        """The layers up to a depth; or of all tensors whose size depends on the decision, what the choice leaves.

        Of a tensor with the size of two decisions, such as the MLP's, that is all that some path uses.
        """
        if decision == DEPTH:
            layers = self.layers[: self.space.depths[choice]]
            return [ParameterSlice(parameter) for parameter in layers.parameters()]
        chosen, smallest = (self._shapes(decision, number) for number in (choice, 0))
        return [
            ParameterSlice(parameter, _leading(chosen[name]))
            for name, parameter in self.named_parameters()
            if parameter.shape != smallest[name]
        ]

    def _shapes(self, decision: int, choice: int) -> dict[str, torch.Size]:
        """The sizes of all parameters in the largest network with this choice."""
        path = (*self._largest[:decision], choice, *self._largest[decision + 1 :])
        return {
            f"{stage.name}.{name}": parameter.shape
            for stage in self.space.stages(path)
            for name, parameter in _skeleton(self.space, stage).named_parameters()
        }

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """All weights but those of layers beyond the depth: of every tensor at least a part is used."""
        parts = [self.get_submodule(stage.name) for stage in self.space.stages(path)]
        return [parameter for part in parts for parameter in part.parameters()]

    def stages(self, path: Path) -> Sequence[Hashable]:
        """The sizes of patch embedding, layers and head. They name the width, so paths of two widths share nothing."""
        return self.space.stages(path)

    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """The output of one part, whose weights are slices of the largest ones."""
        stage = cast(Stage, choice)
        skeleton, largest = _skeleton(self.space, stage), dict(_tensors(self.get_submodule(stage.name)))
        weights = {name: _slice(name, largest[name], small.shape) for name, small in _tensors(skeleton)}
        return cast(Tensor, functional_call(skeleton, weights, (x,), tie_weights=False))

    def _inherited(self, path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = self.state_dict()
        return {name: _slice(name, own[name], small.shape) for name, small in state.items()}


class AutoFormerNetwork(nn.Module):
    """The network of one path, of ordinary modules of its size."""

    def __init__(self, space: "AutoFormer", path: Path) -> None:
        super().__init__()
        self.patches, self.layers, self.head = _parts(space, path)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        for part in (self.patches, *self.layers, self.head):
            x = part(x)
        return x
