"""Parts of a search space: with choices removed, or given as a list. They are search spaces again.

A path of a part is the same tuple as in the whole, and so are its text, its cost and its weights: ground truth
and checkpoints of the whole apply.
"""

import csv
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as File
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.base import Cell, Chain, Choices, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy
from lightning_nas.spaces.supernet import Supernet


@dataclass(frozen=True)
class _Subspace(SearchSpace):
    """What all parts of a space have in common: everything but which paths they hold.

    Attributes:
        space: The space of which this one is a part.
    """

    space: SearchSpace
    num_classes: int = field(init=False, repr=False, compare=False)
    in_channels: int = field(init=False, repr=False, compare=False)
    image_size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for fact in ("num_classes", "in_channels", "image_size"):
            object.__setattr__(self, fact, getattr(self.space, fact))

    @property
    def num_choices(self) -> tuple[int, ...]:
        """That of the space: removed choices keep their numbers, so that paths mean the same."""
        return self.space.num_choices

    @property
    def choice_names(self) -> tuple[tuple[str, ...] | None, ...]:
        """Those of the space."""
        return self.space.choice_names

    @property
    def whole(self) -> SearchSpace:
        """The space of which this one is a part."""
        return self.space.whole

    def encode(self, path: Path) -> str:
        """The text of the space."""
        self.require(path)
        return self.space.encode(path)

    def decode(self, text: str) -> Path:
        """The path of a text.

        Raises:
            NASError: The text names no path of the space, or one that was removed.
        """
        path = self.space.decode(text)
        self._require_kept(path, text)
        return path

    def _require_kept(self, path: Path, text: str) -> None:
        if not self.is_valid(path):
            raise NASError(
                f"architecture {text!r} is in {type(self.whole).__name__}, but not in the part of it"
            )

    def cost(self, path: Path) -> Cost:
        """That of the space."""
        self.require(path)
        return self.space.cost(path)

    def features(self, path: Path) -> tuple[int, ...]:
        """Those of the space."""
        return self.space.features(path)

    def canonical(self, path: Path) -> Hashable:
        """The key of the space."""
        return self.space.canonical(path)

    def published_key(self, path: Path) -> Hashable:
        """The key of the space."""
        return self.space.published_key(path)

    def functional_key(self, path: Path) -> Hashable:
        """The key of the space."""
        return self.space.functional_key(path)

    def outline(self, path: Path) -> Chain | tuple[Cell, ...]:
        """That of the space."""
        return self.space.outline(path)

    def adapt(
        self,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
    ) -> Self:
        """The same part for other data; None keeps a value."""
        return self._part_of(self.space.adapt(num_classes, in_channels, image_size))

    def _part_of(self, space: SearchSpace) -> Self:
        raise NotImplementedError

    def _supernet(self, norm: NormPolicy) -> Supernet:
        # All weights of the whole: so a part can inherit them, and its own fit into the whole again.
        return self.space._supernet(norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> nn.Module:
        return self.space._standalone(path, norm)


@dataclass(frozen=True)
class RestrictedSpace(_Subspace):
    """A space without some of its choices: after operation pruning, or a branch of a few-shot split.

    Attributes:
        space: The space that is restricted.
        allowed: For every decision, the choices that are kept.

    Raises:
        NASError: A decision is left without a choice or has one that does not exist, or no path is left.

    Example:
        >>> from lightning_nas.spaces import NASBenchMacro
        >>> space = RestrictedSpace(NASBenchMacro(), ((1, 2),) * 8)
        >>> space.size, space.encode(space[0]), space.num_choices[0], space.choices[0]
        (256, '11111111', 3, (1, 2))
    """

    allowed: Choices

    def __post_init__(self) -> None:
        super().__post_init__()
        # Lists come from YAML files and checkpoints; tuples keep the space hashable.
        object.__setattr__(self, "allowed", tuple(tuple(sorted(set(kept))) for kept in self.allowed))
        decisions = len(self.num_choices)
        if len(self.allowed) != decisions:
            raise NASError(
                f"RestrictedSpace.allowed has {len(self.allowed)} lists: valid are {decisions}, one per decision"
            )
        for decision, (kept, known) in enumerate(zip(self.allowed, self.space.choices, strict=True)):
            if not kept:
                raise NASError(
                    f"RestrictedSpace.allowed leaves decision {decision} without a choice: valid are some of {known}"
                )
            if unknown := set(kept) - set(known):
                raise NASError(
                    f"RestrictedSpace.allowed has choice {min(unknown)} at decision {decision}: valid are some of "
                    f"{known}"
                )
        if not self.count():
            raise NASError(f"RestrictedSpace.allowed is {self.allowed}: no path takes only these choices")

    @cached_property
    def choices(self) -> Choices:
        """The choices that are kept."""
        return self.allowed

    @property
    def is_product(self) -> bool:
        """Whether every combination of kept choices is a path."""
        return self.space.is_product

    def count(self, prefix: Path = (), allowed: Choices | None = None) -> int:
        """The number of paths that begin with ``prefix`` and take allowed choices only."""
        return self.space.count(prefix, self.allowed if allowed is None else allowed)

    def neighbours(self, path: Path) -> Iterator[Path]:
        """All other paths of the part that are neighbours in the space."""
        if self._kept is None:
            return super().neighbours(path)
        self.require(path)
        return (other for other in self.space.neighbours(path) if self.is_valid(other))

    def sample(self, rng: np.random.Generator) -> Path:
        """One path, uniform over the valid ones."""
        return super().sample(rng) if self._kept is None else self._kept[rng.integers(len(self._kept))]

    @cached_property
    def _kept(self) -> tuple[Path, ...] | None:
        """The paths that are left of a list: to find them choice by choice would be slow."""
        of_list = isinstance(self.space, ListedSpace)
        if of_list or (isinstance(self.space, RestrictedSpace) and self.space._kept is not None):
            return tuple(path for path in self.space if self.is_valid(path))
        return None

    def _repair(self, path: Path, allowed: Choices | None = None) -> Path:
        return self.space._repair(path, self.allowed if allowed is None else allowed)

    def _part_of(self, space: SearchSpace) -> Self:
        return cast(Self, RestrictedSpace(space, self.allowed))


@dataclass(frozen=True)
class ListedSpace(_Subspace):
    """The paths of a list: the best of a ranking, or the architectures that a paper published.

    Attributes:
        space: The space that the paths are of.
        paths: The paths, or a text file that names an architecture per line, or a CSV table whose column ``arch``
            does.

    Raises:
        NASError: An empty list, a path that is twice in it or not in the space, or a file that cannot be read.

    Example:
        >>> from lightning_nas.spaces import Pooling
        >>> space = ListedSpace(Pooling(), ((35,), (3,)))
        >>> space.size, [space.encode(path) for path in space]
        (2, ['8-1-1', '1-4-5'])
    """

    paths: tuple[tuple[int, ...], ...] | str

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = _read(self.space, File(self.paths)) if isinstance(self.paths, str) else self.paths
        object.__setattr__(self, "paths", tuple(tuple(path) for path in paths))
        if not paths:
            raise NASError("ListedSpace.paths is empty: valid is at least one path")
        for path in self._listed:
            self.space.require(path)
        if len(self._numbers) < len(self._listed):
            twice = next(path for i, path in enumerate(self._listed) if self._numbers[path] != i)
            raise NASError(f"ListedSpace.paths has {self.space.encode(twice)!r} more than once")

    @property
    def _listed(self) -> tuple[Path, ...]:
        return cast(tuple[Path, ...], self.paths)

    @cached_property
    def _numbers(self) -> dict[Path, int]:
        return {path: number for number, path in enumerate(self._listed)}

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        return np.array(self._listed)

    @cached_property
    def choices(self) -> Choices:
        """The choices that some path takes."""
        return tuple(tuple(np.unique(column).tolist()) for column in self._table.T)

    @property
    def is_product(self) -> bool:
        """False: only the listed combinations are paths."""
        return False

    def count(self, prefix: Path = (), allowed: Choices | None = None) -> int:
        """The number of listed paths that begin with ``prefix`` and take allowed choices only."""
        begins = (self._table[:, : len(prefix)] == np.array(prefix, dtype=np.int64)).all(axis=1)
        for column, kept in zip(self._table.T, allowed or (), strict=bool(allowed)):
            begins &= np.isin(column, kept)
        return int(begins.sum())

    def is_valid(self, path: Path) -> bool:
        """Whether ``path`` is in the list."""
        return path in self._numbers

    def __iter__(self) -> Iterator[Path]:
        """The paths in the order of the list."""
        return iter(self._listed)

    def __getitem__(self, index: int) -> Path:
        """The path number ``index`` of the list."""
        if not 0 <= index < len(self._listed):
            raise IndexError(f"path {index} of {len(self._listed)}")
        return self._listed[index]

    def index(self, path: Path) -> int:
        """The position of ``path`` in the list."""
        self.require(path)
        return self._numbers[path]

    def require(self, path: Path) -> None:
        """Refuses a path that is not listed.

        Raises:
            NASError: ``path`` is not in the list.
        """
        if not self.is_valid(path):
            raise NASError(f"path {path} is not one of the {len(self._listed)} in ListedSpace.paths")

    def neighbours(self, path: Path) -> Iterator[Path]:
        """All listed paths that differ from ``path`` in one decision."""
        self.require(path)
        return (self._listed[i] for i in np.flatnonzero(self._distances(path) == 1))

    def _distances(self, path: Path) -> NDArray[np.int64]:
        return np.asarray((self._table != np.array(path)).sum(axis=1), dtype=np.int64)

    def _repair(self, path: Path, allowed: Choices | None = None) -> Path:
        """The listed path of allowed choices that differs in the fewest decisions; of several, the first."""
        distances = self._distances(path)
        for column, kept in zip(self._table.T, allowed or (), strict=bool(allowed)):
            distances[~np.isin(column, kept)] = len(path) + 1
        return self._listed[int(distances.argmin())]

    def _part_of(self, space: SearchSpace) -> Self:
        return cast(Self, ListedSpace(space, self._listed))


def _read(space: SearchSpace, file: File) -> tuple[Path, ...]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise NASError(f"ListedSpace.paths is {str(file)!r}, but there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise NASError(f"ListedSpace.paths is {str(file)!r}, which cannot be read: {error}") from error
    archs = [(number, text) for number, text in enumerate(lines, 1) if text.strip()]
    if file.suffix == ".csv":
        rows = csv.DictReader(lines)
        if "arch" not in (rows.fieldnames or ()):
            raise NASError(f"{file} has no column named arch: valid is a table with one, or a text file")
        archs = [(rows.line_num, row.get("arch") or "") for row in rows]
    paths = []
    for number, text in archs:
        try:
            paths.append(space.decode(text.strip()))
        except NASError as error:
            raise NASError(f"{file} line {number}: {error}") from error
    return tuple(paths)
