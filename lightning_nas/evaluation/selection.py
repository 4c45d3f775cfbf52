"""Which paths of a space are scored."""

from collections.abc import Hashable, Mapping
from pathlib import Path as File
from typing import Literal

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import ListedSpace, Path, SearchSpace

ENUMERABLE = 100_000
"""Spaces up to this size are small enough to hold a number for every path."""

PathSelection = Literal["all", "classes"] | int | str


def select_paths(
    space: SearchSpace, paths: PathSelection, seed: int = 0, key: str = "ranking.paths"
) -> tuple[Path, ...]:
    """The paths to score, without repetition, in the order of the space or of the file.

    Args:
        space: Where they come from.
        paths: ``all`` of them; ``classes``: the first of every isomorphism class; a number: as many drawn at random
            (all, where the space has no more); or a file with an architecture per line, or a table with a
            column ``arch``.
        seed: Seed of the draw: equal seeds give equal paths.
        key: Where ``paths`` was given.

    Raises:
        NASError: A space too large to enumerate, less than one path, or a file that cannot be read.
    """
    valid = "'all', 'classes', numbers from 1, and files"
    if isinstance(paths, str) and paths not in ("all", "classes"):
        if not File(paths).exists():
            raise NASError(f"{key} is {paths!r}, but there is no such file: valid are {valid}")
        return tuple(ListedSpace(space, paths))
    if isinstance(paths, str):
        if space.size > ENUMERABLE:
            raise NASError(
                f"{key} is {paths!r}, but the space has {space.size:.3g} paths: give a number of paths, at "
                f"most {ENUMERABLE}"
            )
        return tuple(space) if paths == "all" else _representatives(space)
    if paths < 1:
        raise NASError(f"{key} is {paths}: valid are {valid}")
    if paths >= space.size:
        return tuple(space)
    rng = generator(seed, Stream.SUBSET)
    chosen: set[Path] = set()
    while len(chosen) < paths:
        chosen.add(space.sample(rng))
    return tuple(sorted(chosen))


def _representatives(space: SearchSpace) -> tuple[Path, ...]:
    first: dict[Hashable, Path] = {}
    for path in space:
        first.setdefault(space.canonical(path), path)
    return tuple(first.values())


def stratified_paths(truth: Mapping[Path, float], number: int, seed: int = 0) -> tuple[Path, ...]:
    """Paths that cover the range of ground truth evenly: one from each of equally large groups.

    Args:
        truth: Ground truth of the candidates.
        number: How many paths; all candidates, where there are no more.
        seed: Seed of the draw within the groups.

    Raises:
        NASError: Less than one path.
    """
    if number < 1:
        raise NASError(f"ranking.paths is {number}: a stratified selection needs a number from 1")
    candidates = sorted(truth, key=lambda path: (truth[path], path))
    rng = generator(seed, Stream.SUBSET)
    groups = np.array_split(np.arange(len(candidates)), min(number, len(candidates)))
    return tuple(sorted(candidates[rng.choice(group)] for group in groups))
