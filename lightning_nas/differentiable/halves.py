"""Training images for the weights, and others for the alphas."""

import copy

import torch
from torch import Tensor

from lightning_nas.data import EpochOrder, ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator


class HalvesOrder(EpochOrder):
    """Batches whose first half is from the first half of the training split, and whose second half is from the second.

    The split is halved in its own order, whatever the seed; within a half the order is one of the seed and the epoch.
    Of an odd number of images the last one is left out.

    Args:
        data: Has the training split. Its batches are twice as large as those that either half is to give.
    """

    def __init__(self, data: ImageDataModule) -> None:
        self._data = data

    def indices(self, epoch: int) -> Tensor:
        """Both halves in turn, each as many images as it has in a batch."""
        images = len(self._data.training_labels)
        half, share = images // 2, self._data.batch_size * self._data.world_size // 2
        rng = generator(self._data.seed, Stream.ORDER, epoch)
        first, second = (torch.from_numpy(rng.permutation(half)) for _ in range(2))
        stretches = zip(first.split(share), (second + half).split(share), strict=True)
        both = torch.cat([part for pair in stretches for part in pair])
        return torch.cat([both, torch.arange(2 * half, images)])


def halved(data: ImageDataModule) -> ImageDataModule:
    """The same images, in batches of twice the size: ``data.batch_size`` images of either half.

    Args:
        data: Stays as it is.
    """
    both = copy.copy(data)
    both.batch_size = 2 * data.batch_size
    both.order = HalvesOrder(both)
    return both


def require_halves(data: ImageDataModule) -> None:
    """Refuses what does not suit two halves, once the images are there.

    Args:
        data: As ``halved`` returns it.

    Raises:
        NASError: The data module orders epochs by itself, or half of the training split is less than a batch.
    """
    if data.default_order() is not None:
        raise NASError(
            "strategy learns weights and alphas on two halves of the training images, in an order of its own: leave out "
            "data.balanced and data.quasi_random"
        )
    batch, half = data.batch_size // 2, len(data.training_labels) // 2
    if batch > half:
        raise NASError(
            f"data.batch_size is {batch}, but strategy learns weights and alphas on {half} training images each: valid are "
            "numbers up to that"
        )
