"""What a search space is."""

import dataclasses
import importlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import SHARED, STANDALONE, NormPolicy

if TYPE_CHECKING:
    from lightning_nas.spaces.supernet import Supernet

Path = tuple[int, ...]
"""One architecture: the index of the chosen operation at every decision."""

Choices = tuple[tuple[int, ...], ...]
"""For every decision, in ascending order, the choices that paths may take."""


class Chain(NamedTuple):
    """The outline of a network whose layers follow each other.

    Attributes:
        titles: What the layers of a row have in common, such as ``64 channels, 16 x 16``.
        rows: The layers of every row, in the order in which they run.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Cell(NamedTuple):
    """The outline of a network that repeats a small graph.

    Attributes:
        title: Which cell it is.
        nodes: Names of the nodes, in an order in which all edges point forward.
        edges: Source, target and operation of every edge; nodes by position.
    """

    title: str
    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


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

    # ------------------------------------------------------------------------------- which paths there are

    @property
    def choice_names(self) -> tuple[tuple[str, ...] | None, ...]:
        """What the choices of every decision are called; None where they are no operations.

        Decisions with the same names choose among the same operations. Unless a space knows better these are
        numbers, and a single decision, which is the whole architecture, has none.
        """
        if len(self.num_choices) == 1:
            return (None,)
        alike = len(set(self.num_choices)) == 1
        return tuple(
            tuple(str(choice) if alike else f"{decision}: {choice}" for choice in range(number))
            for decision, number in enumerate(self.num_choices)
        )

    @cached_property
    def choices(self) -> Choices:
        """The choices at every decision: all of them, unless the space is a restriction of another."""
        return tuple(tuple(range(number)) for number in self.num_choices)

    @property
    def is_product(self) -> bool:
        """Whether every combination of choices is a path."""
        return True

    @property
    def whole(self) -> "SearchSpace":
        """The space of which this one is a part: itself, unless it is restricted or listed."""
        return self

    def count(self, prefix: Path = (), allowed: Choices | None = None) -> int:
        """The number of paths that begin with ``prefix`` and take allowed choices only.

        A space that is no product says here which combinations exist; its size, its order, its uniform
        samples and its restrictions follow from it.

        Args:
            prefix: The choices of the first decisions, possibly none.
            allowed: For every decision the allowed choices; None are those of the space.
        """
        allowed = self.choices if allowed is None else allowed
        if len(prefix) > len(allowed) or any(
            choice not in choices for choice, choices in zip(prefix, allowed, strict=False)
        ):
            return 0
        return math.prod(len(choices) for choices in allowed[len(prefix) :])

    @property
    def size(self) -> int:
        """The number of paths, of any magnitude (``len`` ends at 2^63 - 1)."""
        return self.count()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Path]:
        if self.is_product:
            return itertools.product(*self.choices)
        return self._extensions(())

    def _extensions(self, prefix: Path) -> Iterator[Path]:
        if len(prefix) == len(self.choices):
            yield prefix
            return
        for choice in range(self.num_choices[len(prefix)]):
            if self.count((*prefix, choice)):
                yield from self._extensions((*prefix, choice))

    def __getitem__(self, index: int) -> Path:
        """The path number ``index``, the first decision being the most significant."""
        if not 0 <= index < self.size:
            raise IndexError(f"path {index} of {self.size}")
        path: Path = ()
        if self.is_product:
            for choices in reversed(self.choices):
                index, digit = divmod(index, len(choices))
                path = (choices[digit], *path)
            return path
        for number in self.num_choices:
            for choice in range(number):
                following = self.count((*path, choice))
                if index < following:
                    path = (*path, choice)
                    break
                index -= following
        return path

    def index(self, path: Path) -> int:
        """The number of ``path``: the inverse of ``space[i]``."""
        self.require(path)
        if self.is_product:
            number = 0
            for choices, choice in zip(self.choices, path, strict=True):
                number = number * len(choices) + choices.index(choice)
            return number
        return sum(
            self.count((*path[:decision], earlier))
            for decision, choice in enumerate(path)
            for earlier in range(choice)
        )

    def is_valid(self, path: Path) -> bool:
        """Whether ``path`` belongs to the space."""
        return len(path) == len(self.num_choices) and self.count(path) == 1

    def require(self, path: Path) -> None:
        """Refuses the path of another space.

        Raises:
            NASError: ``path`` does not belong to the space.
        """
        if not self.is_valid(path):
            raise NASError(
                f"path {path} is not in {type(self).__name__}: valid are {len(self.num_choices)} choices below "
                f"{self.num_choices}, such as {self[0]}"
            )

    def _require_positive(self, *names: str) -> None:
        """Refuses a size below one; spaces call it when they are made.

        Raises:
            NASError: One of the named fields is less than 1.
        """
        for name in names:
            if getattr(self, name) < 1:
                raise NASError(
                    f"{type(self).__name__}.{name} is {getattr(self, name)}: valid are numbers from 1"
                )

    def sample(self, rng: np.random.Generator) -> Path:
        """One path, uniform over the valid ones."""
        if self.is_product:
            drawn = rng.integers([len(choices) for choices in self.choices])
            return tuple(choices[i] for choices, i in zip(self.choices, drawn.tolist(), strict=True))
        return self[_integer_below(self.size, rng)]

    # ---------------------------------------------------------------------------------- from path to path

    def neighbours(self, path: Path) -> Iterator[Path]:
        """All other paths that differ from ``path`` in one decision, and in what must follow from it."""
        self.require(path)
        for decision, choices in enumerate(self.choices):
            for choice in choices:
                other = self._repair((*path[:decision], choice, *path[decision + 1 :]))
                if other != path and self.is_valid(other):
                    yield other

    def mutate(self, path: Path, rng: np.random.Generator, probability: float = 0.1) -> Path:
        """A path in which every decision was redrawn with the given probability (Guo et al., SPOS, 2020).

        A redrawn decision may come out as it was, and so may the whole path.
        """
        self.require(path)
        while True:
            redrawn = rng.random(len(path)) < probability
            drawn = rng.integers([len(choices) for choices in self.choices])
            child = self._repair(
                tuple(
                    choices[i] if new else old
                    for old, new, choices, i in zip(path, redrawn, self.choices, drawn.tolist(), strict=True)
                )
            )
            if self.is_valid(child):
                return child

    def crossover(self, first: Path, second: Path, rng: np.random.Generator) -> Path:
        """A path that takes every decision from one of two, each with probability 1/2."""
        self.require(first)
        self.require(second)
        while True:
            coins = rng.random(len(first)) < 0.5
            pairs = zip(first, second, coins, strict=True)
            child = self._repair(tuple(one if coin else other for one, other, coin in pairs))
            if self.is_valid(child):
                return child

    def _repair(self, path: Path, allowed: Choices | None = None) -> Path:
        """The path that a combination of choices stands for, where other decisions must follow suit.

        What it cannot repair it returns as it is.
        """
        return path

    # -------------------------------------------------------------------------------- which paths are equal

    def canonical(self, path: Path) -> Hashable:
        """A key that is equal for isomorphic paths: those that are one network when trained alone."""
        return path

    def published_key(self, path: Path) -> Hashable:
        """The key by which publications tell isomorphic paths: ``canonical``, unless theirs is another."""
        return self.canonical(path)

    def functional_key(self, path: Path) -> Hashable:
        """A key that is equal for paths that compute the same function with the same shared weights."""
        return path

    def class_size(self, path: Path) -> int:
        """The number of paths that are isomorphic to ``path``, itself included.

        Counted by enumeration of the space, except where a space knows better.
        """
        if type(self).canonical is SearchSpace.canonical:
            return 1
        key = self.canonical(path)
        return sum(self.canonical(other) == key for other in self)

    def features(self, path: Path) -> tuple[int, ...]:
        """The symbols whose differing fraction is the encoding distance of two paths."""
        return path

    def outline(self, path: Path) -> Chain | tuple[Cell, ...]:
        """What a drawing of ``path`` shows, in plain types: unless a space knows better, its choices."""
        return Chain(titles=("choices",), rows=(tuple(map(str, path)),))

    # --------------------------------------------------------------------------------------------- networks

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

    def build_supernet(self, norm: NormPolicy = SHARED) -> "Supernet":
        """The network that holds the shared weights of all paths."""
        return self._supernet(norm)

    def build_standalone(self, path: Path, norm: NormPolicy = STANDALONE) -> nn.Module:
        """The network of one path alone, freshly initialised.

        Raises:
            NASError: ``path`` does not belong to the space.
        """
        self.require(path)
        return self._standalone(path, norm)

    def describe(self) -> dict[str, Any]:
        """The space in plain types, as in a YAML file: ``class_path`` and ``init_args``."""
        fields = dataclasses.fields(cast(Any, self))
        args = {field.name: _plain(getattr(self, field.name)) for field in fields if field.init}
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
        args = description["init_args"]
        return cls(**{name: _space_of(value) for name, value in args.items()})


def _plain(value: object) -> object:
    if isinstance(value, SearchSpace):
        return value.describe()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _space_of(value: Any) -> Any:
    is_space = isinstance(value, dict) and "class_path" in value
    return SearchSpace.from_description(value) if is_space else value


def _integer_below(bound: int, rng: np.random.Generator) -> int:
    """A uniform integer from 0 to ``bound`` - 1, of any magnitude."""
    bits = (bound - 1).bit_length()
    while True:
        number = int.from_bytes(rng.bytes(-(-bits // 8)), "little") & ((1 << bits) - 1)
        if number < bound:
            return number
