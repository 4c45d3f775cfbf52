"""Estimates of many networks, by several processes, continued where they were interrupted."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path as File
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lightning_nas.architecture import network_seed
from lightning_nas.checkpoint import digest, load_supernet
from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.random import torch_seeded
from lightning_nas.spaces import Path, SearchSpace, Supernet
from lightning_nas.spaces.operations import STANDALONE, NormPolicy
from lightning_nas.threads import one_thread
from lightning_nas.zeroshot.base import Estimator

Floats = NDArray[np.float64]
Images = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Normalised images, N x C x H x W, and their labels, N."""

SAVE_EVERY = 10.0
"""Seconds between two records of what is estimated."""


class Source(Protocol):
    """Where the networks come from that are looked at."""

    def network(self, path: Path, seed: int) -> nn.Module:
        """The network of a path."""


@dataclass(frozen=True)
class Untrained:
    """Networks as they are before training.

    Attributes:
        space: The space of the paths, with the data that it is built for.
        norm: Batch-norm of the networks.
    """

    space: SearchSpace
    norm: NormPolicy = STANDALONE

    def network(self, path: Path, seed: int) -> nn.Module:
        """A network with initial weights, which are other ones for every path and seed."""
        with torch_seeded(network_seed(self.space, path, seed)):
            return self.space.build_standalone(path, norm=self.norm)


@dataclass(frozen=True)
class Inherited:
    """Networks with the weights of a trained supernet.

    Attributes:
        ckpt_path: A checkpoint of the supernet, which every process reads.
        weights: The fingerprint of its weights, which a training may replace in the meantime.
    """

    ckpt_path: File
    weights: str

    @classmethod
    def of(cls, ckpt_path: File) -> Self:
        """The weights that a checkpoint holds now.

        Raises:
            NASError: The file is missing, damaged or not the checkpoint of a supernet.
        """
        return cls(ckpt_path, digest(load_supernet(ckpt_path)))

    def network(self, path: Path, seed: int) -> nn.Module:
        """The network of a path; the seed does not matter.

        Raises:
            NASError: The checkpoint has other weights by now.
        """
        return _supernet(self).extract(path)


@lru_cache(maxsize=1)
def _supernet(source: Inherited) -> Supernet:
    supernet = load_supernet(source.ckpt_path)
    if digest(supernet) != source.weights:
        raise NASError(
            f"ckpt_path is {str(source.ckpt_path)!r}, whose weights were replaced since: give one that stays as it is"
        )
    return supernet


def estimate_paths(
    estimators: Sequence[Estimator],
    source: Source,
    paths: Sequence[Path],
    batches: Sequence[Images],
    seeds: Sequence[int] = (0,),
    workers: int = 1,
    device: str = "cpu",
    record: PartialScores | None = None,
    show: Callable[[int], None] = lambda _: None,
) -> Floats:
    """What every estimator says of every path: the mean over batches and seeds.

    Every network is looked at with one thread: so the numbers do not depend on the number of processes.

    Args:
        estimators: Those that are asked.
        source: Gives the networks.
        paths: The paths, n of them.
        batches: Images that the networks are shown, at least one batch.
        seeds: Of the initial weights.
        workers: Processes.
        device: Where the networks run.
        record: Where the record of an interruption is; None is nowhere.
        show: Is called with the number of paths that are estimated, whenever it grows.

    Returns:
        Shape (n, estimators); NaN or infinite where an estimate is undefined.

    Raises:
        NASError: An estimator cannot look at these networks, there are too few images for it, or the record is damaged
            or was begun with other settings.
    """
    kept = None if record is None else record.read()
    rows: list[list[float]] = [] if kept is None else kept["rows"]
    show(len(rows))
    saved = time.monotonic()
    job = partial(_estimates, estimators, source, batches, seeds, device)
    try:
        # Closed, because a pool that is left open works off all paths before the process ends.
        with closing(_in_processes(job, paths[len(rows) :] if estimators else (), workers)) as found:
            for row in found:
                rows.append(row)
                show(len(rows))
                if record is not None and time.monotonic() - saved > SAVE_EVERY:
                    record.write({"rows": rows})
                    saved = time.monotonic()
    except KeyboardInterrupt:
        if record is not None:
            record.write({"rows": rows})
        raise
    return np.array(rows, dtype=np.float64).reshape(len(paths), len(estimators))


Job = Callable[[Path], list[float]]


def _in_processes(job: Job, paths: Sequence[Path], workers: int) -> Generator[list[float], None, None]:
    """What a job makes of every path, in their order."""
    if workers == 1:
        yield from map(job, paths)
        return
    # Forking a process that has threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (job,))
    try:
        with _deaf_to_interrupts():
            found = pool.map(_do, paths)
        yield from found
    except BrokenProcessPool as error:
        raise NASError(
            f"workers is {workers}, but one of these processes was ended, mostly for want of memory: the same command "
            "continues, also with fewer"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C, from their first moment on.

    It reaches all processes of a terminal; the first of them brings the others to an end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_job: Job
"""In a worker: what it does with every path it is given. It is sent there once, with all images."""


def _begin(job: Job) -> None:
    global _job
    _job = job


def _do(path: Path) -> list[float]:
    return _job(path)


def _estimates(
    estimators: Sequence[Estimator],
    source: Source,
    batches: Sequence[Images],
    seeds: Sequence[int],
    device: str,
    path: Path,
) -> list[float]:
    """The means of one path."""
    with one_thread():
        found = []
        for seed in seeds:
            # Average pooling is several times as fast with the channels of a pixel side by side.
            network = source.network(path, seed).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for images, labels in batches:
                x = torch.tensor(images, device=device).contiguous(memory_format=torch.channels_last)
                y = torch.tensor(labels, device=device)
                found.append([estimator(network, x, y) for estimator in estimators])
        with np.errstate(invalid="ignore"):  # infinity of both signs
            return [float(mean) for mean in np.mean(found, axis=0)]
