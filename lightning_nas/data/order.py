"""Which training images an epoch shows, and in which order: one answer for every kind of loader."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

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


class BalancedOrder(EpochOrder):
    """Every class equally often, in an order that is a pure function of the seed and the epoch.

    An epoch is as long as ever. Classes have the same number of images in it, up to one; a class with fewer shows
    them several times, one with more another part of them in every epoch.

    Args:
        labels: Classes of the images of the training split, int64.
        seed: Seed of the order.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> labels[BalancedOrder(labels, seed=0).indices(epoch=3)].bincount()
        tensor([3, 3])
    """

    def __init__(self, labels: Tensor, seed: int) -> None:
        self._num_images = len(labels)
        self._members = [np.flatnonzero(labels.numpy() == label) for label in np.unique(labels.numpy())]
        self._seed = seed

    def indices(self, epoch: int) -> Tensor:
        """The classes' images, shuffled together."""
        rng = generator(self._seed, Stream.ORDER, epoch)
        share, left_over = divmod(self._num_images, len(self._members))
        numbers = rng.permutation(np.arange(len(self._members)) < left_over) + share
        # resize repeats what is too short, so that no image comes twice before all came once.
        drawn = [
            np.resize(rng.permutation(members), number)
            for members, number in zip(self._members, numbers, strict=True)
        ]
        return torch.from_numpy(rng.permutation(np.concatenate(drawn)))


class QuasiRandomOrder(EpochOrder):
    """Every image once, in an order that reads a file piece by piece.

    The pieces are shuffled and then the images within every few of them, so that no more than these need to be in
    memory at a time. A pure function of the seed and the epoch.

    Args:
        pages: Number of the piece of the file that each image of the training split lies in.
        seed: Seed of the order.
        window: Pieces that are shuffled together.
    """

    def __init__(self, pages: Tensor, seed: int, window: int = 64) -> None:
        self._pages = np.unique(pages.numpy(), return_inverse=True)[1]
        self._seed = seed
        self._window = window

    def indices(self, epoch: int) -> Tensor:
        """A permutation."""
        rng = generator(self._seed, Stream.ORDER, epoch)
        place = rng.permutation(self._pages.max() + 1)[self._pages] // self._window
        shuffled = rng.permutation(len(place))
        return torch.from_numpy(shuffled[np.argsort(place[shuffled], kind="stable")])
