"""Loaders that make reproducible batches of stored images."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from lightning_nas.data.augment import cut_out
from lightning_nas.data.order import EpochOrder, UniformOrder
from lightning_nas.data.source import Batch, ImageSource, Request
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator

TrainingBatch = tuple[Tensor, Tensor, Tensor]
"""Images, labels, and positions of the images in the training split."""


class TrainingLoader:
    """Shuffled and augmented training batches.

    The order of an epoch is a function of the epoch, the augmentation of a batch one of the seed, the epoch and the
    batch. So two numbers are all the state there is, and all processes together see what a single one with the same
    overall batch would.

    Lightning saves ``state_dict`` in its checkpoints and restores it, and tells the epoch to ``sampler``.

    Attributes:
        waited: Seconds between the last batch being asked for and being there.

    Example:
        >>> from lightning_nas.data.resident import ImageSet
        >>> pixels = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
        >>> images = ImageSet(pixels, torch.arange(10), torch.zeros(1), torch.ones(1))
        >>> loader = TrainingLoader(images, batch_size=4, seed=0)
        >>> [(tuple(x.shape), y.equal(indices)) for x, y, indices in loader]
        [((4, 1, 8, 8), True), ((4, 1, 8, 8), True)]
        >>> loader.state_dict()
        {'epoch': 0, 'position': 2}
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int,
        *,
        seed: int,
        order: EpochOrder | None = None,
        drop_last: bool = True,
        repeat: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Prepares the first epoch.

        Args:
            source: The training images.
            batch_size: Number of images per batch and process.
            seed: Seed of the order and of augmentation.
            order: The images of every epoch; None for every image once, in an order of the seed.
            drop_last: Whether images that do not fill a batch in all processes wait for another epoch.
            repeat: Whether every epoch is the first one again.
            rank: Number of this process, in ``[0, world_size)``.
            world_size: Number of processes.

        Raises:
            NASError: If there is no batch, or no image for some process in the last one.
        """
        self._source = source
        self._global_batch_size = batch_size * world_size
        self._seed = seed
        self._order = order or UniformOrder(len(source), seed)
        self._drop_last = drop_last
        self._repeat = repeat
        self._share = slice(rank, None, world_size)
        self._epoch = 0
        self._position = 0
        self._started = False
        self.waited = 0.0
        if len(self) == 0:
            raise NASError(
                f"batch_size is {batch_size} on each of {world_size} processes, but there are only {len(source)} "
                f"training images; it must be at most {len(source) // world_size}."
            )
        if not drop_last and 0 < len(source) % self._global_batch_size < world_size:
            raise NASError(
                f"batch_size is {batch_size}, which leaves too few of {len(source)} training images in the last "
                f"batch for {world_size} processes; choose another size or drop the last batch."
            )

    def __len__(self) -> int:
        """Number of batches per epoch, the same in all processes."""
        rounding = 0 if self._drop_last else self._global_batch_size - 1
        return (len(self._source) + rounding) // self._global_batch_size

    @property
    def sampler(self) -> "TrainingLoader":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Goes to the beginning of an epoch, unless it is the present one.

        Args:
            epoch: Number of the epoch.
        """
        # Lightning does not restore the state from a checkpoint of on_train_epoch_end, nor does the state tell
        # that an epoch ended early by limit_train_batches: there this is what makes a resumed run exact.
        if epoch != self._epoch and not self._repeat:
            self.load_state_dict({"epoch": epoch, "position": 0})

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches given out so far."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where ``state_dict`` was taken.

        Args:
            state: As returned by ``state_dict``.
        """
        self._epoch, self._position = state["epoch"], state["position"]
        self._started = False

    def __iter__(self) -> Iterator[TrainingBatch]:
        """The rest of a restored epoch, or the next epoch where this one has begun."""
        # Lightning takes len() batches and never exhausts the iterator, so an epoch ends when the next begins.
        if self._started or self._position >= len(self):
            self.load_state_dict({"epoch": 0 if self._repeat else self._epoch + 1, "position": 0})
        return self._rest_of_epoch()

    def _rest_of_epoch(self) -> Iterator[TrainingBatch]:
        self._started = True
        asked = perf_counter()
        for request, images in self._source.read(self._requests(self._epoch, self._position)):
            labels, holes = self._source.labels[request.indices], request.draws and request.draws.holes
            if holes is not None:
                cut_out(images, holes, self._source.augmentation.cutout)
            # Counted before it is given out: checkpoints are saved while the iterator waits at the yield.
            self._position += 1
            self.waited = perf_counter() - asked
            yield images, labels, request.indices
            asked = perf_counter()

    def _requests(self, epoch: int, first: int) -> Iterator[Request]:
        """This process's share of the batches of an epoch, from one on."""
        indices, augmentation = self._order.indices(epoch), self._source.augmentation
        for position in range(first, len(self)):
            chosen = indices[position * self._global_batch_size :][: self._global_batch_size]
            rng = generator(self._seed, Stream.AUGMENT, epoch, position)
            draws = augmentation.draw(len(chosen), self._source.image_size, rng)
            yield Request(chosen[self._share], draws.of(self._share))


class EvaluationLoader:
    """Every image once, in order, in whole batches that are dealt to the processes in turn.

    So a batch is composed as in a single process, which matters where batch statistics enter the result.
    """

    def __init__(self, source: ImageSource, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        """Deals the batches.

        Args:
            source: The images to evaluate on.
            batch_size: Number of images per batch; the last one may be smaller.
            rank: Number of this process, in ``[0, world_size)``.
            world_size: Number of processes.

        Raises:
            NASError: If some process would get no batch.
        """
        self._source = source
        self._batch_size = batch_size
        self._starts = range(rank * batch_size, len(source), world_size * batch_size)
        if len(source) <= (world_size - 1) * batch_size:
            raise NASError(
                f"eval_batch_size is {batch_size}, which makes fewer batches of {len(source)} images than there are "
                f"processes; it must be at most {(len(source) - 1) // max(1, world_size - 1)}."
            )

    def __len__(self) -> int:
        """Number of batches of this process."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of this process."""
        everything = torch.arange(len(self._source))
        requests = (Request(everything[start : start + self._batch_size]) for start in self._starts)
        for request, images in self._source.read(requests):
            yield images, self._source.labels[request.indices]
