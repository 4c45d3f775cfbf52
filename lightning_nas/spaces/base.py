"""What a search space is, and what the network that shares its weights can do."""

import dataclasses
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Self, cast

import numpy as np
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import SHARED, STANDALONE, NormPolicy

Path = tuple[int, ...]
"""One architecture: the index of the chosen operation at every decision."""


class SearchSpace(ABC):
    """Which architectures exist, what they cost, and how to build them.

    A space is a frozen dataclass: its fields say everything about it, so that it compares, prints, is
    configured and is stored in a checkpoint by its fields alone. Three of them describe the data and follow
    it: ``num_classes``, ``in_channels`` and ``image_size`` (pixels along a side).
    """

    num_classes: int
    in_channels: int
    image_size: int

    @property
    @abstractmethod
    def num_choices(self) -> tuple[int, ...]:
        """The number of choices at every decision."""

    @abstractmethod
    def encode(self, path: Path) -> str:
        """The text that benchmark tables use for ``path``."""

    @abstractmethod
    def decode(self, text: str) -> Path:
        """The path that ``encode`` writes as ``text``.

        Raises:
            NASError: The text names no path of this space.
        """

    @abstractmethod
    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds of the stand-alone network, batch-norm scales included."""

    @abstractmethod
    def _supernet(self, norm: NormPolicy) -> "Supernet":
        """The supernet of exactly this space."""

    @abstractmethod
    def _standalone(self, path: Path, norm: NormPolicy) -> nn.Module:
        """The network of one path of exactly this space."""

    @property
    def size(self) -> int:
        """The number of paths, of any magnitude (``len`` ends at 2^63 - 1)."""
        return math.prod(self.num_choices)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Path]:
        return (self[i] for i in range(self.size))

    def __getitem__(self, index: int) -> Path:
        """The path number ``index``, the first decision being the most significant."""
        if not 0 <= index < self.size:
            raise IndexError(f"path {index} of {self.size}")
        digits = []
        for choices in reversed(self.num_choices):
            index, digit = divmod(index, choices)
            digits.append(digit)
        return tuple(reversed(digits))

    def index(self, path: Path) -> int:
        """The number of ``path``: the inverse of ``space[i]``."""
        number = 0
        for choices, choice in zip(self.num_choices, path, strict=True):
            number = number * choices + choice
        return number

    def is_valid(self, path: Path) -> bool:
        """Whether ``path`` belongs to the space."""
        return len(path) == len(self.num_choices) and all(
            0 <= choice < choices for choice, choices in zip(path, self.num_choices, strict=True)
        )

    def sample(self, rng: np.random.Generator) -> Path:
        """One path, uniform over the valid ones."""
        return tuple(int(choice) for choice in rng.integers(self.num_choices))

    def features(self, path: Path) -> tuple[int, ...]:
        """The symbols whose differing fraction is the encoding distance of two paths."""
        return path

    def adapt(
        self,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
    ) -> Self:
        """The same space for other data; None keeps a value."""
        changes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        given = {key: value for key, value in changes.items() if value is not None}
        return cast(Self, dataclasses.replace(cast(Any, self), **given))

    def build_supernet(
        self,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
        norm: NormPolicy = SHARED,
    ) -> "Supernet":
        """The network that holds the shared weights of all paths, for other data where given."""
        return self.adapt(num_classes, in_channels, image_size)._supernet(norm)

    def build_standalone(
        self,
        path: Path,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
        norm: NormPolicy = STANDALONE,
    ) -> nn.Module:
        """The network of one path alone, freshly initialised, for other data where given."""
        return self.adapt(num_classes, in_channels, image_size)._standalone(path, norm)

    def describe(self) -> dict[str, Any]:
        """The space in plain types, as in a YAML file: ``class_path`` and ``init_args``."""
        fields = dataclasses.fields(cast(Any, self))
        args = {field.name: _plain(getattr(self, field.name)) for field in fields}
        return {"class_path": f"{type(self).__module__}.{type(self).__qualname__}", "init_args": args}

    @staticmethod
    def from_description(description: dict[str, Any]) -> "SearchSpace":
        """The space that ``describe`` described.

        Raises:
            NASError: The class cannot be imported or is not a search space.
        """
        class_path = description["class_path"]
        module, _, name = class_path.rpartition(".")
        try:
            cls = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise NASError(f"search space {class_path!r} cannot be imported: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, SearchSpace)):
            raise NASError(f"{class_path!r} is not a search space")
        return cls(**description["init_args"])


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class Supernet(nn.Module, ABC):
    """The shared weights of all paths of a space.

    Attributes:
        space: The space whose paths it runs.
        norm: How its batch-norm layers were built.
    """

    def __init__(self, space: SearchSpace, norm: NormPolicy) -> None:
        super().__init__()
        self.space = space
        self.norm = norm

    @abstractmethod
    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""

    @abstractmethod
    def choice_parameters(self, decision: int, choice: int) -> list[nn.Parameter]:
        """The weights that only paths with this choice at this decision use; empty if it owns none."""

    def path_parameters(self, path: Path) -> list[nn.Parameter]:
        """The weights that ``path`` uses: the shared ones and those of its choices."""
        unused = {
            id(parameter)
            for decision, choices in enumerate(self.space.num_choices)
            for choice in range(choices)
            if choice != path[decision]
            for parameter in self.choice_parameters(decision, choice)
        }
        return [parameter for parameter in self.parameters() if id(parameter) not in unused]

    def extract(self, path: Path) -> nn.Module:
        """A copy of ``path`` as a stand-alone network whose output equals ``forward(x, path)``, bitwise."""
        network = self.space.build_standalone(path, norm=self.norm)
        own = self.state_dict()
        network.load_state_dict({key: own[key] for key in network.state_dict()})
        first = next(self.parameters())
        return network.to(first.device, first.dtype).train(self.training)

    def forward_each(self, x: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
        """Runs many paths on the same images.

        Yields:
            The position of a path in ``paths`` and its logits, in an order of the supernet's own. Every logit
            is bitwise that of ``forward``.
        """
        for position, path in enumerate(paths):
            yield position, self(x, path)


class ChainSupernet(Supernet):
    """A supernet whose paths are chains of stages, so that common beginnings need to run only once."""

    @abstractmethod
    def stages(self, path: Path) -> Sequence[Hashable]:
        """What ``path`` does at every stage. Paths that agree on a prefix share its activations."""

    @abstractmethod
    def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
        """The output of stage number ``depth`` under ``choice`` for its input ``x``."""

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""
        for depth, choice in enumerate(self.stages(path)):
            x = self.run_stage(depth, choice, x)
        return x

    def forward_each(self, x: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
        """Runs many paths on the same images, every common prefix once, depth first.

        Only the activations of one chain are alive at a time.

        Yields:
            The position of a path in ``paths`` and its logits.
        """
        yield from self._descend(x, [(i, self.stages(path)) for i, path in enumerate(paths)], depth=0)

    def _descend(
        self, x: Tensor, chains: list[tuple[int, Sequence[Hashable]]], depth: int
    ) -> Iterator[tuple[int, Tensor]]:
        branches: dict[Hashable, list[tuple[int, Sequence[Hashable]]]] = {}
        for position, stages in chains:
            if depth == len(stages):
                yield position, x
            else:
                branches.setdefault(stages[depth], []).append((position, stages))
        for choice, branch in branches.items():
            yield from self._descend(self.run_stage(depth, choice, x), branch, depth + 1)
