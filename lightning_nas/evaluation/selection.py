"""Which paths of a space are scored."""

from typing import Literal

from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, SearchSpace

ENUMERABLE = 100_000
"""Spaces up to this size are small enough to hold a number for every path."""

PathSelection = Literal["all"] | int


def select_paths(space: SearchSpace, paths: PathSelection, seed: int = 0) -> tuple[Path, ...]:
    """The paths to score, without repetition, in the order of the space.

    Args:
        space: Where they come from.
        paths: ``all`` of them, or how many to draw at random (all, where the space has no more).
        seed: Seed of the draw: equal seeds give equal paths.

    Raises:
        NASError: ``all`` of a space too large to enumerate, or less than one path.
    """
    if paths == "all" and space.size > ENUMERABLE:
        raise NASError(
            f"ranking.paths is 'all', but the space has {space.size:.3g} paths: give a number of paths, at most "
            f"{ENUMERABLE}"
        )
    if paths == "all" or paths >= space.size:
        return tuple(space)
    if paths < 1:
        raise NASError(f"ranking.paths is {paths}: valid are 'all' and numbers from 1")
    rng = generator(seed, Stream.SUBSET)
    chosen: set[Path] = set()
    while len(chosen) < paths:
        chosen.add(space.sample(rng))
    return tuple(sorted(chosen))
