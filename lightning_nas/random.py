"""Counter-based randomness: every draw is a pure function of (seed, stream, counters).

No generator is ever stored or advanced between steps. So all ranks draw the same path without talking to
each other, a resumed run continues exactly, and nothing touches the global streams of torch or numpy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a draw is for. Numbers are part of the reproducibility promise: never renumber, only append."""

    PATH = 0
    ORDER = 1
    AUGMENT = 2
    SPLIT = 3
    PROBE = 4
    SUBSET = 5
    NETWORK = 6
    BAG = 7
    ACCEPT = 8
    KMEANS = 9
    PROJECTION = 10
    POPULATION = 11
    IMPORTANCE = 12
    CLUSTER = 13
    COMPRESS = 14
    SEARCH = 15
    EXAMPLE = 16
    TRICKS = 17
    LATENCY = 18
    NOISE = 19
    GUMBEL = 20
    SPLITTING = 21
    LEAF = 22
    FEASIBLE = 23


def generator(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """The generator of one draw.

    Args:
        seed: Seed of the run, non-negative.
        stream: What is drawn.
        counters: Which draw of the stream it is, e.g. the step or (epoch, batch); non-negative.

    Example:
        >>> a, b = generator(0, Stream.PATH, 7), generator(0, Stream.PATH, 7)
        >>> int(a.integers(1000)) == int(b.integers(1000))
        True
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(int(stream), *counters))
    return np.random.Generator(np.random.Philox(sequence))


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Lets torch draw from ``seed`` on the CPU, for what takes no generator, such as the initial weights of layers.

    Its global streams are afterwards as they were before.

    Args:
        seed: From 0 to less than 2^63.

    Example:
        >>> with torch_seeded(3):
        ...     a = torch.rand(2)
        >>> bool((a == torch.rand(2, generator=torch.Generator().manual_seed(3))).all())
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def resolve_seed(seed: int | None) -> int:
    """``seed`` itself, or where it is None the one given to ``seed_everything``, or 0 where there is none."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
