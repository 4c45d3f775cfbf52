"""Which networks are measured, and how."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_nas.evaluation import PartialScores
from lightning_nas.latency.conditions import DTYPES, Conditions
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, RestrictedSpace, SearchSpace

HELD_OUT = 0.2
"""Share of the networks with which the sums are compared."""

SECONDS = 0.05
"""How long a network runs again and again, at least, whenever it is measured."""

SAVE_EVERY = 10.0
"""Seconds between two records of what is measured."""


@dataclass(frozen=True)
class Selection:
    """The networks that are measured.

    Attributes:
        fitted: Those from which the table is made. Every choice of the space is taken by one of them.
        held_out: Those with which it is compared: others, unless a choice is taken by no other.
    """

    fitted: tuple[Path, ...]
    held_out: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them; one that stands in both parts is measured twice."""
        return self.fitted + self.held_out


def select(space: SearchSpace, networks: int, seed: int) -> Selection:
    """Random networks, and as many more as it takes to have every choice among the fitted ones.

    Args:
        space: The space.
        networks: How many; all, where the space has no more.
        seed: Of the draw.
    """
    rng = generator(seed, Stream.LATENCY)
    drawn: dict[Path, None] = {}
    if space.size <= networks:
        drawn = dict.fromkeys(space[int(i)] for i in rng.permutation(space.size))
    while len(drawn) < min(networks, space.size):
        drawn[space.sample(rng)] = None
    number = max(1, round(HELD_OUT * len(drawn)))
    held_out, fitted = tuple(drawn)[:number], list(drawn)[number:]
    for decision, choices in enumerate(space.choices):
        for choice in choices:
            if not any(path[decision] == choice for path in fitted):
                only = (*space.choices[:decision], (choice,), *space.choices[decision + 1 :])
                if space.count(allowed=only):
                    fitted.append(RestrictedSpace(space, only).sample(rng))
    return Selection(tuple(fitted), held_out)


def measure(
    space: SearchSpace, paths: Sequence[Path], conditions: Conditions, rounds: int, record: PartialScores
) -> NDArray[np.float64]:
    """Times networks, all of them in every round, so that a machine that becomes slower does so for all of them.

    Args:
        space: The space of the paths.
        paths: The networks.
        conditions: On what and how they run.
        rounds: How often each is measured, at least 1.
        record: Keeps what is measured, when it is interrupted, and gives it back.

    Returns:
        The fewest milliseconds per batch, shape (paths,). Whatever else the machine does can only add to them.

    Raises:
        NASError: The record is damaged, or was begun with other settings.
    """
    found = (record.read() or {"milliseconds": []})["milliseconds"]
    clock, saved = stopwatch(space, conditions), time.monotonic()
    total = rounds * len(paths)
    try:
        for number in tqdm(range(len(found), total), initial=len(found), total=total, desc="networks"):
            found.append(clock(paths[number % len(paths)]))
            if time.monotonic() - saved > SAVE_EVERY:
                record.write({"milliseconds": found})
                saved = time.monotonic()
    except BaseException:
        record.write({"milliseconds": found})
        raise
    fastest: NDArray[np.float64] = np.reshape(found, (rounds, len(paths))).min(axis=0)
    return fastest


def stopwatch(space: SearchSpace, conditions: Conditions) -> Callable[[Path], float]:
    """What times a network of the space: built anew, in evaluation mode, without gradients, on random images.

    Args:
        space: The space; its channels and image size are those of the images.
        conditions: On what and how they run.

    Returns:
        A function that gives the milliseconds that the network of a path takes for a batch: the fewest of all runs (or of
        the means of blocks of runs, where one is too short to be timed).
    """
    # Says on import that there is no GPU, which concerns nobody who does not measure.
    from torch.utils import benchmark

    dtype = DTYPES[conditions.precision]
    layout = torch.channels_last if conditions.channels_last else torch.contiguous_format
    shape = (conditions.batch, space.in_channels, space.image_size, space.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    images = images.to(conditions.device, dtype, memory_format=layout)

    def milliseconds(path: Path) -> float:
        # It is built on the CPU, whose global stream of random numbers stays as it is.
        with torch.random.fork_rng(devices=[]):
            network = space.build_standalone(path).eval()
        network.to(conditions.device, dtype).to(memory_format=layout)
        # It warms up by itself, and waits for a GPU before and after every block of runs.
        timer = benchmark.Timer(
            "network(images)",
            globals={"network": network, "images": images},
            num_threads=conditions.threads,
            timer=time.process_time if conditions.clock == "process" else benchmark.timer,
        )
        with torch.inference_mode():
            measured = timer.blocked_autorange(min_run_time=SECONDS)
        return float(min(measured.times) * 1e3)

    return milliseconds
