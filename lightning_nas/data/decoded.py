"""Datasets whose images are decoded when they are needed."""

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_nas.data.augment import Augmentation, Draws, centre_boxes, crop, crop_boxes, flip, normalise
from lightning_nas.data.base import ImageDataModule
from lightning_nas.data.source import ImageSource, Request
from lightning_nas.errors import NASError, require_at_least

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.int64]

CACHED = 1 << 18  # numbers that are worked on at a time


@dataclass(frozen=True)
class Decoding:
    """How images are decoded. What they show depends on the first two alone.

    Attributes:
        image_size: Height and width to which the crops of images are resized.
        centre: Side of the centred square that is evaluated, as a part of the shorter side of an image, in (0, 1].
        workers: Threads.
        batches_ahead: Batches that are decoded while another one is used. Memory holds them, and a whole image for
            each thread.
    """

    image_size: int
    centre: float
    workers: int
    batches_ahead: int


class DecodedImages(ImageSource):
    """Images that threads decode, some batches ahead.

    Args:
        labels: Class of each image, int64, ``N``.
        mean: Mean of each channel in pixel values, ``C``.
        std: Standard deviation of each channel in pixel values, ``C``.
        decoding: How they are decoded.
        augmentation: Of training images.
    """

    def __init__(
        self,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        decoding: Decoding,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(labels, mean, std, decoding.image_size, augmentation)
        self._decoding = decoding

    @abstractmethod
    def decode(self, request: Request, images: Pixels) -> None:
        """Decodes, crops and resizes some images.

        Args:
            request: Which images, and the crops that were drawn for them.
            images: Where their pixels belong, ``B x image_size x image_size x C``.
        """

    def boxes(self, request: Request, heights: npt.ArrayLike, widths: npt.ArrayLike) -> Boxes:
        """Where the images of a request are cropped: top, left, height and width, ``B x 4``."""
        if request.draws is None or request.draws.crops is None:
            return centre_boxes(heights, widths, self._decoding.centre)
        assert self.augmentation.area is not None
        return crop_boxes(request.draws.crops, heights, widths, self.augmentation.area)

    def read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Tensor]]:
        """Decodes the images, see ``ImageSource``."""
        pending: deque[Job] = deque()
        try:
            for request in requests:
                pending.append(self._begin(request))
                if len(pending) > self._decoding.batches_ahead:
                    yield self._finish(pending.popleft())
            while pending:
                yield self._finish(pending.popleft())
        finally:
            # Where it is left early, by an error or for good, nobody waits for the rest.
            for *_, parts in pending:
                for part in parts:
                    part.cancel()

    def _begin(self, request: Request) -> "Job":
        pool = _pool(self._decoding.workers, os.getpid())
        number, size = len(request.indices), self.image_size
        # A GPU normalises by itself, and bytes are sooner there.
        kind = np.float32 if self.device.type == "cpu" else np.uint8
        images = np.empty((number, len(self.mean), size, size), kind)
        length = -(-number // self._decoding.workers)
        parts = [slice(start, start + length) for start in range(0, number, length)]
        return request, images, [pool.submit(self._read, request.of(part), images[part]) for part in parts]

    def _read(self, request: Request, images: npt.NDArray[Any]) -> None:
        """Decodes and augments some images, a few at a time, which stay in the cache of the processor."""
        few = max(1, CACHED // images[0].size)
        for start in range(0, len(images), few):
            rows = slice(start, start + few)
            part = request.of(rows)
            decoded = np.empty(
                (len(part.indices), self.image_size, self.image_size, len(self.mean)), np.uint8
            )
            self.decode(part, decoded)
            pixels = self._augmented(torch.from_numpy(decoded).permute(0, 3, 1, 2), part.draws)
            images[rows] = normalise(pixels, self.mean, self.std) if images.dtype == np.float32 else pixels

    def _augmented(self, pixels: Tensor, draws: Draws | None) -> Tensor:
        if draws is not None and draws.offsets is not None:
            pixels = crop(pixels, draws.offsets, self.augmentation.padding)
        if draws is not None and draws.flips is not None:
            pixels = flip(pixels, draws.flips)
        return pixels

    def _finish(self, job: "Job") -> tuple[Request, Tensor]:
        request, read, parts = job
        for part in parts:
            part.result()
        images = torch.from_numpy(read)
        if self.device.type != "cpu":
            images = normalise(images.to(self.device), self.mean, self.std)
        return request, images


Job = tuple[Request, npt.NDArray[Any], list[Future[None]]]


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads of a process, which a forked one does not inherit. They stay, as each keeps a decoder of its own."""
    return ThreadPoolExecutor(workers, thread_name_prefix=f"decode-{process}")


class DecodedDataModule(ImageDataModule):
    """A dataset that need not fit in memory; subclasses open its splits."""

    def __init__(
        self,
        image_size: int,
        batch_size: int,
        eval_batch_size: int,
        augmentation: Augmentation,
        centre: float,
        balanced: bool,
        workers: int | None,
        batches_ahead: int,
        split_seed: int,
        seed: int | None,
    ) -> None:
        """Remembers what all such datasets have in common.

        Args:
            image_size: Height and width of the images.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            augmentation: Of training images.
            centre: Side of the centred square that is evaluated, as a part of the shorter side of an image.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            workers: Threads that decode; None for one per core.
            batches_ahead: Batches that are decoded while another one is used.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If an argument is out of range.
        """
        super().__init__(batch_size, eval_batch_size, balanced, seed)
        require_at_least(1, image_size=image_size, workers=1 if workers is None else workers)
        require_at_least(0, batches_ahead=batches_ahead, split_seed=split_seed)
        if not 0 < centre <= 1:
            raise NASError(
                f"centre is {centre}, but must be a part of the shorter side, above 0 and up to 1."
            )
        self.image_size = image_size
        self.augmentation = augmentation
        self.centre = centre
        self.workers = workers
        self.batches_ahead = batches_ahead
        self.split_seed = split_seed

    @property
    def decoding(self) -> Decoding:
        """How images are decoded."""
        workers = self.workers or usable_cores(self.trainer.num_devices if self.trainer else 1)
        return Decoding(self.image_size, self.centre, workers, self.batches_ahead)


def usable_cores(processes: int) -> int:
    """Cores for each of several processes of a machine.

    Args:
        processes: How many work on this machine.

    Returns:
        What SLURM gives to each of its tasks; else a share of those that this process may use.
    """
    if given := os.environ.get("SLURM_CPUS_PER_TASK"):
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // processes)
