"""AutoFormer: width and depth of a vision transformer, and heads and hidden width of each of its layers.

Chen et al., AutoFormer: Searching Transformers for Visual Recognition, ICCV 2021, Sec. 3 and released code; by default
the space of its smallest supernet, AutoFormer-tiny.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lightning_nas.errors import NASError
from lightning_nas.spaces import cost
from lightning_nas.spaces.autoformer_networks import (
    DEPTH,
    EMBED,
    LAYERS,
    AutoFormerNetwork,
    AutoFormerSupernet,
    Stage,
)
from lightning_nas.spaces.base import Chain, Choices, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy

TEXT = re.compile(r"embed([0-9]+)_depth([0-9]+)_heads([0-9-]+)_ratio([0-9.-]+)")


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

    def _supernet(self, norm: NormPolicy) -> AutoFormerSupernet:
        return AutoFormerSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> AutoFormerNetwork:
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
