"""Which training images an epoch shows, and in which order: one answer for every kind of loader."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from lightning_nas.random import Stream, generator


class EpochOrder(ABC):
    """The images of every epoch.

    An epoch is one list for all processes together. A batch of all processes is a stretch of it, of which process
    number ``rank`` takes every ``world_size``-th image: so the number of processes does not change the batch.
    """

    @abstractmethod
    def indices(self, epoch: int) -> Tensor:
        """The list of an epoch: positions in the training split, int64, as many as it has images.

        The same in all processes, however often it is asked for. Loaders ask when an epoch begins.
        """


class UniformOrder(EpochOrder):
    """Every image once, in an order that is a pure function of the seed and the epoch.

    Args:
        num_images: Images of the training split.
        seed: Seed of the order.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        self._num_images = num_images
        self._seed = seed

    def indices(self, epoch: int) -> Tensor:
        """A permutation."""
        return torch.from_numpy(generator(self._seed, Stream.ORDER, epoch).permutation(self._num_images))


class OrderSampler(Sampler[int]):
    """This process's share of an order, for torch's DataLoader.

    It runs in the main process, which alone knows an order that changes in the course of a run: workers, which may
    outlive an epoch, are told one index at a time. Lightning calls ``set_epoch``.

    Args:
        order: The order.
        num_images: Images of an epoch.
        rank: Number of this process, in ``[0, world_size)``.
        world_size: Number of processes. What it does not divide is left out.

    Example:
        >>> order = UniformOrder(5, seed=0)
        >>> list(OrderSampler(order, 5, rank=1, world_size=2)) == order.indices(0)[[1, 3]].tolist()
        True
    """

    def __init__(self, order: EpochOrder, num_images: int, rank: int = 0, world_size: int = 1) -> None:
        self._order = order
        self._num_images = num_images
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next iterator."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The indices of the epoch."""
        return iter(share(self._order.indices(self._epoch), self._rank, self._world_size).tolist())

    def __len__(self) -> int:
        """Images of this process per epoch."""
        return self._num_images // self._world_size


def share(indices: Tensor, rank: int, world_size: int) -> Tensor:
    """What one of several processes takes of a list, all of them equally much."""
    return indices[: len(indices) // world_size * world_size][rank::world_size]


def ffcv_order(order: EpochOrder, rank: int = 0, world_size: int = 1) -> Any:
    """This process's share of an order, for the argument ``order`` of FFCV's Loader.

    The Loader counts the epochs itself, from its attribute ``next_epoch`` on. Importing FFCV sets the number of
    threads of torch to 1, which is undone here.
    """
    threads = torch.get_num_threads()
    from ffcv.traversal_order.base import TraversalOrder

    torch.set_num_threads(threads)

    class Order(TraversalOrder):  # type: ignore[misc]  # FFCV has no types
        def __init__(self) -> None:
            """Nothing: the base class asks for the Loader, which does not exist yet."""

        def __call__(self, loader: Any) -> "Order":
            """Itself: FFCV takes an object, and then calls it as if it were a class."""
            return self

        def sample_order(self, epoch: int) -> np.ndarray[Any, Any]:
            return share(order.indices(epoch), rank, world_size).numpy()

    return Order()
