"""What a loader asks of stored images, however they are stored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lightning_nas.data.augment import Augmentation, Draws

Batch = tuple[Tensor, Tensor]
"""Normalised images, float32, ``B x C x H x W``, and labels, int64, ``B``."""


class Request(NamedTuple):
    """The images of a batch.

    Attributes:
        indices: Which images, int64, ``B``.
        draws: How they are augmented; None for images as they are evaluated.
    """

    indices: Tensor
    draws: Draws | None = None

    def of(self, rows: slice) -> Self:
        """That of some of the images."""
        return type(self)(self.indices[rows], None if self.draws is None else self.draws.of(rows))


class ImageSource(ABC):
    """The images of a split.

    Args:
        labels: Class of each image, int64, ``N``.
        mean: Mean of each channel in pixel values, ``C``.
        std: Standard deviation of each channel in pixel values, ``C``.
        image_size: Height and width of the images that are read.
        augmentation: Of training images.

    Attributes:
        device: Where batches are made.
    """

    def __init__(
        self,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        image_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.labels = labels
        self.mean = mean
        self.std = std
        self.image_size = image_size
        self.augmentation = augmentation or Augmentation()
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """Makes batches on a device from now on."""
        self.device = device
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    @abstractmethod
    def read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Tensor]]:
        """Reads batches, in order; it may ask for some requests before the results of earlier ones are taken.

        Returns:
            Each request with its images: cropped and mirrored as drawn, normalised, float32, ``B x C x H x W``, on
            ``device``.
        """

    def batch(self, indices: Tensor) -> Batch:
        """Chosen images, normalised and not augmented, and their labels."""
        [(_, images)] = self.read([Request(indices)])
        return images, self.labels[indices]
