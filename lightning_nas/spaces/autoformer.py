"""AutoFormer: width and depth of a vision transformer, and heads and hidden width of each of its layers.

Chen et al., AutoFormer: Searching Transformers for Visual Recognition, ICCV 2021, Sec. 3 and released code; by default
the space of its smallest supernet, AutoFormer-tiny.
"""

import itertools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.base import Chain, Choices, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy
from lightning_nas.spaces.supernet import ChainSupernet, ParameterSlice

EMBED, DEPTH, LAYERS = 0, 1, 2
"""The decisions: the width, the depth, and from the third on heads and MLP ratio of every layer in turn."""

TEXT = re.compile(r"embed([0-9]+)_depth([0-9]+)_heads([0-9-]+)_ratio([0-9.-]+)")


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


@dataclass(frozen=True)
class AutoFormer(SearchSpace):
    """Vision transformers of three widths and three depths, whose layers choose among two heads and two MLP ratios.

    The first decision is the channels of a token, the second the number of layers; then follow heads and MLP ratio
    (hidden units per channel) of every layer. Layers beyond the depth do not exist: their choices are 0, so that
    every network is one path. 3 * (4^12 + 4^13 + 4^14) = 1,056,964,608 networks, written such as
    ``embed192_depth12_heads3-4-3-..._ratio3.5-4-4-...`` with a number per existing layer.

    The networks are those of the released code with its published options: pre-norm layers with GELU, a class token
    and absolute positions, relative positions in keys and values of every layer, and a classifier of the mean patch.
    Dropout and stochastic depth, which are means of training, are left out.

    Multiply-adds are those of the patch embedding and the linear layers. Products of two activations (attention) and
    of an activation with a table of relative positions are no layers and not counted.

    Attributes:
        embed_dims: Channels of a token, the same in all layers.
        depths: Numbers of layers.
        heads: Attention heads of a layer.
        mlp_ratios: Hidden units of a layer's MLP per channel, rounded down.
        head_dim: Channels of a head.
        patch_size: Pixels along a side of a patch.
        max_distance: Patches along a side from which on relative positions are no longer told apart.
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels along a side, a multiple of the patch size.

    Raises:
        NASError: Choices that are not in ascending order, or sizes of which no such network can be built.

    Example:
        >>> space = AutoFormer()
        >>> space.size, space.cost(space[0])
        (1056964608, Cost(params=5366056, macs=987704832))
    """

    embed_dims: tuple[int, ...] = (192, 216, 240)
    depths: tuple[int, ...] = (12, 13, 14)
    heads: tuple[int, ...] = (3, 4)
    mlp_ratios: tuple[float, ...] = (3.5, 4.0)
    head_dim: int = 64
    patch_size: int = 16
    max_distance: int = 14
    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224

    def __post_init__(self) -> None:
        for name in ("embed_dims", "depths", "heads", "mlp_ratios"):
            # Lists come from YAML files and checkpoints; a tuple keeps the space hashable.
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not _ascend(getattr(self, name)):
                raise NASError(
                    f"AutoFormer.{name} is {getattr(self, name)}: valid are positive numbers in ascending order"
                )
        self._require_positive("head_dim", "patch_size", "max_distance", "num_classes", "in_channels")
        for embed in self.embed_dims:
            if not _ascend(hidden := [int(embed * ratio) for ratio in self.mlp_ratios]):
                raise NASError(
                    f"AutoFormer.mlp_ratios is {self.mlp_ratios}, {hidden} hidden units for {embed} channels: valid are "
                    "ratios that give different positive numbers"
                )
        if self.image_size < 1 or self.image_size % self.patch_size:
            raise NASError(
                f"AutoFormer.image_size is {self.image_size}: valid are multiples of the patch size {self.patch_size}"
            )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    # ------------------------------------------------------------------------------- which paths there are

    @cached_property
    def num_choices(self) -> tuple[int, ...]:
        """Of the width, the depth, and heads and MLP ratio of every layer of the deepest network."""
        layer = (len(self.heads), len(self.mlp_ratios))
        return (len(self.embed_dims), len(self.depths), *layer * self.depths[-1])

    @property
    def is_product(self) -> bool:
        """False: layers beyond the depth have no choice."""
        return False

    def count(self, prefix: Path = (), allowed: Choices | None = None) -> int:
        """The number of paths that begin with ``prefix`` and take allowed choices only.

        Layers beyond the depth take their choice 0 whether or not it is allowed: there is no other.
        """
        allowed = self.choices if allowed is None else allowed
        # Among the paths of one depth, all combinations exist.
        return sum(
            [super(AutoFormer, self).count(prefix, self._of_depth(d, allowed)) for d in allowed[DEPTH]]
        )

    def _of_depth(self, choice: int, allowed: Choices) -> Choices:
        """The allowed choices of the paths that have one depth."""
        beyond = LAYERS + 2 * self.depths[choice]
        return (allowed[EMBED], (choice,), *allowed[LAYERS:beyond], *((0,),) * (len(allowed) - beyond))

    def _repair(self, path: Path, allowed: Choices | None = None) -> Path:
        """Layers beyond the depth take 0; where another choice is not allowed, the first that is."""
        choices = self._of_depth(path[DEPTH], self.choices if allowed is None else allowed)
        return tuple(
            choice if choice in kept else kept[0] for choice, kept in zip(path, choices, strict=True)
        )

    def _layer_choices(self, path: Path) -> list[tuple[int, int]]:
        """The choices of heads and MLP ratio at every layer that exists."""
        living = path[LAYERS : LAYERS + 2 * self.depths[path[DEPTH]]]
        return list(zip(living[::2], living[1::2], strict=True))

    # --------------------------------------------------------------------------------- what the paths are

    def encode(self, path: Path) -> str:
        """Names and sizes, such as ``embed192_depth2_heads3-4_ratio3.5-4``."""
        self.require(path)
        heads, ratios = zip(*self._layer_choices(path), strict=True)
        return (
            f"embed{self.embed_dims[path[EMBED]]}_depth{self.depths[path[DEPTH]]}"
            f"_heads{'-'.join(_texts(self.heads)[choice] for choice in heads)}"
            f"_ratio{'-'.join(_texts(self.mlp_ratios)[choice] for choice in ratios)}"
        )

    def decode(self, text: str) -> Path:
        """The path of a text such as ``embed192_depth2_heads3-4_ratio3.5-4``.

        Raises:
            NASError: A text of another form, a size that is no choice, or another number of layers than the depth.
        """
        match = TEXT.fullmatch(text)
        if match is None:
            raise NASError(f"architecture {text!r} is not of the form {self.encode(self[0])!r}")
        embed, depth, *lists = match.groups()
        path = (_choice(text, "embed", embed, self.embed_dims), _choice(text, "depth", depth, self.depths))
        layers: list[list[int]] = []
        for name, listed, valid in zip(("heads", "ratio"), lists, (self.heads, self.mlp_ratios), strict=True):
            sizes = listed.split("-")
            if len(sizes) != int(depth):
                raise NASError(
                    f"architecture {text!r} has {name} of {len(sizes)} layers: valid are {depth}, its depth"
                )
            layers.append(
                [_choice(text, f"{name} at layer {i}", size, valid) for i, size in enumerate(sizes)]
            )
        path += tuple(itertools.chain(*zip(*layers, strict=True)))
        return path + (0,) * (len(self.num_choices) - len(path))

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network."""
        self.require(path)
        total, layers = self._costs[path[EMBED]]
        for choices in self._layer_choices(path):
            total += layers[choices]
        return total

    @cached_property
    def _costs(self) -> tuple[tuple[Cost, dict[tuple[int, int], Cost]], ...]:
        """For every width what all its paths share, and a layer by its choices."""
        layer = list(itertools.product(range(len(self.heads)), range(len(self.mlp_ratios))))
        return tuple(
            (self._shared_cost(embed), {choices: self._layer_cost(embed, *choices) for choices in layer})
            for embed in self.embed_dims
        )

    def _shared_cost(self, embed: int) -> Cost:
        tokens = self.grid**2 + 1
        # The bias of the patch embedding, the class token, the positions and the last norm.
        vectors = Cost((1 + 1 + tokens + 2) * embed, 0)
        patches = cost.convolution(self.in_channels, embed, kernel=self.patch_size, size=self.grid)
        return patches + vectors + cost.linear(embed, self.num_classes)

    def _layer_cost(self, embed: int, heads: int, ratio: int) -> Cost:
        attention, hidden = self.head_dim * self.heads[heads], int(embed * self.mlp_ratios[ratio])
        linears = cost.linear(embed, 3 * attention) + cost.linear(attention, embed)
        linears += cost.linear(embed, hidden) + cost.linear(hidden, embed)
        norms, tables = 4 * embed, 4 * (2 * self.max_distance + 2) * self.head_dim
        return Cost(linears.params + norms + tables, linears.macs * (self.grid**2 + 1))

    def outline(self, path: Path) -> Chain:
        """One row of all layers."""
        title = f"{self.embed_dims[path[EMBED]]} channels, {self.grid} x {self.grid} patches"
        heads, ratios = _texts(self.heads), _texts(self.mlp_ratios)
        row = (f"{heads[head]} heads\nratio {ratios[ratio]}" for head, ratio in self._layer_choices(path))
        return Chain((title,), (tuple(row),))

    # --------------------------------------------------------------------------------------------- networks

    def stages(self, path: Path) -> tuple[Stage, ...]:
        """The sizes of all parts of the network of ``path``."""
        embed = self.embed_dims[path[EMBED]]
        layers = (
            Stage(f"layers.{i}", embed, self.heads[head], int(embed * self.mlp_ratios[ratio]))
            for i, (head, ratio) in enumerate(self._layer_choices(path))
        )
        return (Stage("patches", embed), *layers, Stage("head", embed))

    def _supernet(self, norm: NormPolicy) -> "AutoFormerSupernet":
        return AutoFormerSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> "AutoFormerNetwork":
        return AutoFormerNetwork(self, path)


def _ascend(numbers: Sequence[float]) -> bool:
    """Whether there are numbers, all positive and each larger than the one before."""
    return len(numbers) > 0 and all(small < large for small, large in itertools.pairwise((0, *numbers)))


def _texts(sizes: Sequence[float]) -> list[str]:
    """How sizes are written: 4 and 4.0 alike."""
    return [str(float(size)).removesuffix(".0") for size in sizes]


def _choice(text: str, what: str, size: str, sizes: Sequence[float]) -> int:
    valid = _texts(sizes)
    if size not in valid:
        raise NASError(f"architecture {text!r} has {what} {size!r}: valid are {', '.join(valid)}")
    return valid.index(size)


class Patches(nn.Module):
    """Embeds patches as tokens, and adds a class token before them and the positions to all."""

    def __init__(self, space: AutoFormer, embed: int) -> None:
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

    def __init__(self, space: AutoFormer, embed: int, heads: int, hidden: int) -> None:
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

    def __init__(self, space: AutoFormer, embed: int) -> None:
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


def _module(space: AutoFormer, stage: Stage) -> nn.Module:
    """One part of a network, of its size."""
    if stage.heads:
        return TransformerLayer(space, stage.embed, stage.heads, stage.hidden)
    return (Patches if stage.name == "patches" else Head)(space, stage.embed)


def _parts(space: AutoFormer, path: Path) -> tuple[nn.Module, nn.ModuleList, nn.Module]:
    """Patch embedding, layers and head of a network."""
    patches, *layers, head = (_module(space, stage) for stage in space.stages(path))
    return patches, nn.ModuleList(layers), head


@cache
def _skeleton(space: AutoFormer, stage: Stage) -> nn.Module:
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

    space: AutoFormer
    layers: nn.ModuleList

    def __init__(self, space: AutoFormer, norm: NormPolicy) -> None:
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

    def __init__(self, space: AutoFormer, path: Path) -> None:
        super().__init__()
        self.patches, self.layers, self.head = _parts(space, path)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        for part in (self.patches, *self.layers, self.head):
            x = part(x)
        return x
