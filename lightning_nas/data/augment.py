"""Augmentation of whole batches.

Drawing is apart from applying: draw for the whole global batch, then apply each process's share of the draws
to its share of the images, so that the outcome does not depend on the number of processes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def draw_offsets(num_images: int, padding: int, rng: np.random.Generator) -> Tensor:
    """Draws where the crop of each image begins.

    Args:
        num_images: Number of images, ``N``.
        padding: Number of zero pixels that the crop adds at each side.
        rng: Source of the draws.

    Returns:
        Row and column of each crop's upper left corner in the padded image, int64, ``N x 2``, each uniform
        in ``[0, 2 * padding]``; ``padding`` leaves the image where it was.
    """
    return torch.from_numpy(rng.integers(0, 2 * padding, (num_images, 2), endpoint=True))


def draw_flips(num_images: int, rng: np.random.Generator) -> Tensor:
    """Draws which of ``num_images`` images are mirrored: bool, ``N``, each with probability 1/2."""
    return torch.from_numpy(rng.random(num_images) < 0.5)


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Pads all sides with zeros, then crops each image back to its size.

    Args:
        images: ``N x C x H x W``, any type.
        offsets: Of ``draw_offsets``, ``N x 2``.
        padding: Number of zero pixels added at each side.

    Returns:
        The crops, ``N x C x H x W``.

    Example:
        >>> crop(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([[0, 1]]), padding=1)
        tensor([[[[0, 0],
                  [1, 2]]]])
    """
    height, width = images.shape[-2:]
    # A view of every window of every padded image: N x C x rows x columns x H x W, without a copy.
    windows = functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images)), :, offsets[:, 0], offsets[:, 1]]


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirrors images left to right.

    Args:
        images: ``N x C x H x W``, any type.
        flips: Of ``draw_flips``, bool, ``N``: which images to mirror.

    Returns:
        The images, ``N x C x H x W``.

    Example:
        >>> flip(torch.tensor([[[[1, 2]]], [[[3, 4]]]]), torch.tensor([True, False])).flatten(1)
        tensor([[2, 1],
                [3, 4]])
    """
    return torch.where(flips[:, None, None, None], images.flip(-1), images)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32, ``C``, of uint8 images ``N x C x H x W``."""
    # Through exact counts of the 256 values: no float copy of the images, the same result in any order.
    channels = images.transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
    values = torch.arange(256, dtype=torch.float64)
    mean = counts @ values / channels.shape[1]
    std = (counts @ values.square() / channels.shape[1] - mean.square()).clamp_min(0).sqrt()
    # A channel without contrast is shifted only.
    return mean.float(), torch.where(std > 0, std, 1).float()


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Shifts and scales pixels to zero mean and unit variance.

    Args:
        images: Pixel values 0 to 255, uint8, ``N x C x H x W``.
        mean: Mean of each channel in pixel values, ``C``.
        std: Standard deviation of each channel in pixel values, ``C``.

    Returns:
        float32, ``N x C x H x W``.

    Example:
        >>> normalise(torch.full((1, 1, 1, 1), 150, dtype=torch.uint8), torch.tensor([100]), torch.tensor([25]))
        tensor([[[[2.]]]])
    """
    # Mixing types in one operation is over ten times slower than converting first.
    return images.to(torch.float32).sub_(mean[:, None, None]).div_(std[:, None, None])
