"""Architectures as users name them on the command line, and as they see them."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Chain, SearchSpace
from lightning_nas.spaces import Path as Architecture


def named(space: SearchSpace, arch: str) -> Architecture:
    """The architecture that ``arch`` names.

    Args:
        space: Where it comes from.
        arch: Its text in the notation of the space, or a ``search.json``, which names the best that was found.

    Raises:
        NASError: The file is missing or names none, or the space has no such architecture.
    """
    return space.decode(_best(Path(arch)) if arch.endswith(".json") else arch)


def _best(file: Path) -> str:
    if not file.is_file():
        raise NASError(f"arch is {str(file)!r}, but there is no such file")
    try:
        best = json.loads(file.read_text())["best"]["arch"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise NASError(
            f"arch is {str(file)!r}, but that file has no best.arch, as search.json has"
        ) from error
    return str(best)


def draw(space: SearchSpace, path: Architecture) -> Figure:
    """A drawing of ``path``, with its cost in the title."""
    cost = space.cost(path)
    title = f"{type(space.whole).__name__}: {cost.params:,} parameters, {cost.macs:,} multiply-adds"
    return plots.drawn(sketch(space, path), title)


def sketch(space: SearchSpace, path: Architecture) -> plots.Sketch:
    """A drawing of ``path`` for a place among others, as in :func:`lightning_nas.plots.best_architectures`."""
    outline = space.outline(path)
    if isinstance(outline, Chain):
        return plots.chain(list(zip(outline.titles, outline.rows, strict=True)))
    return plots.cells(outline)


def network_seed(space: SearchSpace, path: Architecture, seed: int) -> int:
    """The seed of a network alone, which is another one for every path.

    Args:
        space: Where the path is from.
        path: The architecture.
        seed: What all networks of a run have in common.
    """
    return int(generator(seed, Stream.NETWORK, space.index(path)).integers(2**31))
