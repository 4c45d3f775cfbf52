"""Datasets that fit in memory: images held as bytes, without worker processes."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from lightning_nas.data.augment import Augmentation, channel_statistics, flip, normalise, windows
from lightning_nas.data.base import ImageDataModule, Splits
from lightning_nas.data.source import Batch, ImageSource, Request
from lightning_nas.errors import require_at_least


class ImageSet(ImageSource):
    """Images in memory.

    Args:
        images: Pixel values, uint8, ``N x C x H x W``, as high as wide.
        labels: Class of each image, int64, ``N``.
        mean: Mean of each channel in pixel values, ``C``.
        std: Standard deviation of each channel in pixel values, ``C``.
        augmentation: Of training images. Its ``area`` is not for images whose size is fixed.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(labels, mean, std, images.shape[-1], augmentation)
        assert self.augmentation.area is None
        # Padded once, so that a crop is a copy of rows.
        self._padded = functional.pad(images, (self.augmentation.padding,) * 4) if self._padding else images

    @property
    def _padding(self) -> int:
        return self.augmentation.padding

    def to(self, device: torch.device) -> Self:
        """Holds the images on a device from now on."""
        self._padded = self._padded.to(device)
        return super().to(device)

    def read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Tensor]]:
        """Copies the images, see ``ImageSource``."""
        size = (self.image_size, self.image_size)
        for request in requests:
            indices, draws = request
            offsets = torch.full((len(indices), 2), self._padding)
            if draws is not None and draws.offsets is not None:
                offsets = draws.offsets
            images = windows(self._padded, size, indices, offsets)
            if draws is not None and draws.flips is not None:
                images = flip(images, draws.flips)
            yield request, normalise(images, self.mean, self.std)


class RawSplits(NamedTuple):
    """Pixel values, uint8, ``N x C x H x W``, and labels, int64, ``N``, of each split."""

    train: Batch
    val: Batch
    test: Batch


class ResidentDataModule(ImageDataModule):
    """A dataset that fits in memory; subclasses read its splits. A run on a GPU holds it there."""

    def __init__(
        self,
        batch_size: int,
        eval_batch_size: int,
        crop_padding: int,
        flip: bool,
        cutout: int,
        balanced: bool,
        split_seed: int,
        seed: int | None,
    ) -> None:
        """Remembers what all resident datasets have in common.

        Args:
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            crop_padding: Zero pixels added at each side before a random crop of training images; 0 for no crop.
            flip: Whether half of the training images are mirrored.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If an argument is below its smallest valid value.
        """
        super().__init__(batch_size, eval_batch_size, balanced, seed)
        require_at_least(0, split_seed=split_seed)
        self.augmentation = Augmentation(padding=crop_padding, flip=flip, cutout=cutout)
        self.split_seed = split_seed

    @abstractmethod
    def read_splits(self) -> RawSplits:
        """Reads all images; called once, when the first of them is needed."""

    def open_splits(self) -> Splits:
        """The splits in memory."""
        train, val, test = self.read_splits()
        statistics = channel_statistics(train[0])
        return Splits(
            ImageSet(*train, *statistics, self.augmentation),
            ImageSet(*val, *statistics),
            ImageSet(*test, *statistics),
        )
