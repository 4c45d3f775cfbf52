"""Augmentation of whole batches.

Drawing is apart from applying: draw for the whole global batch, then apply each process's share of the draws
to its share of the images, so that the outcome does not depend on the number of processes.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_nas.errors import NASError, require_at_least

CROP_ATTEMPTS = 10
CROP_RATIOS = 3 / 4, 4 / 3


class Draws(NamedTuple):
    """What was drawn for the images of a batch, a row each; None where nothing is.

    Attributes:
        crops: Of ``draw_crops``.
        offsets: Of ``draw_offsets``.
        flips: Of ``draw_flips``.
        holes: Of ``draw_holes``.
    """

    crops: Tensor | None = None
    offsets: Tensor | None = None
    flips: Tensor | None = None
    holes: Tensor | None = None

    def of(self, rows: slice) -> Self:
        """Those of some of the images."""
        return type(self)(*(None if drawn is None else drawn[rows] for drawn in self))


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        area: Least and largest part of an image that a random crop takes, in (0, 1], before it is resized; None for
            the whole image, or its centre.
        padding: Zero pixels added at each side before a random crop of the resized image; 0 for no crop.
        flip: Whether half of the images are mirrored.
        cutout: Side of a square that is replaced by the mean colour, at a random place; 0 for none.

    Raises:
        NASError: If a number is out of range.
    """

    area: tuple[float, float] | None = None
    padding: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise NASError(
                f"area is {list(self.area)}, but must be two parts of an image, the smaller first, above 0 and up to 1."
            )
        require_at_least(0, crop_padding=self.padding, cutout=self.cutout)

    def draw(self, num_images: int, image_size: int, rng: np.random.Generator) -> Draws:
        """Draws for the images of a batch.

        Args:
            num_images: Number of images.
            image_size: Their height and width once they are cropped.
            rng: Source of the draws.
        """
        return Draws(
            crops=None if self.area is None else draw_crops(num_images, rng),
            offsets=draw_offsets(num_images, self.padding, rng) if self.padding else None,
            flips=draw_flips(num_images, rng) if self.flip else None,
            holes=draw_holes(num_images, image_size, rng) if self.cutout else None,
        )


def draw_crops(num_images: int, rng: np.random.Generator) -> Tensor:
    """Draws crops of images whose sizes are not known yet.

    Args:
        num_images: Number of images, ``N``.
        rng: Source of the draws.

    Returns:
        Area, shape, top and left of several attempts, each uniform in ``[0, 1)``, float64, ``N x attempts x 4``.
    """
    return torch.from_numpy(rng.random((num_images, CROP_ATTEMPTS, 4)))


def crop_boxes(
    crops: Tensor, heights: npt.ArrayLike, widths: npt.ArrayLike, area: tuple[float, float]
) -> npt.NDArray[np.int64]:
    """Where the crops of images are (Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6).

    As torchvision's RandomResizedCrop: a part of the area, in a shape between 3:4 and 4:3; the first attempt that
    fits into the image counts, and where none does, the largest centred crop of a valid shape.

    Args:
        crops: Of ``draw_crops``, ``N x attempts x 4``.
        heights: Of the images, ``N``.
        widths: Of the images, ``N``.
        area: Least and largest part of an image.

    Returns:
        Top, left, height and width, int64, ``N x 4``.
    """
    part, shape, top, left = np.moveaxis(crops.numpy(), -1, 0)
    height, width = (np.asarray(size, dtype=np.float64)[:, None] for size in (heights, widths))
    target = height * width * (area[0] + (area[1] - area[0]) * part)
    low, high = map(math.log, CROP_RATIOS)
    ratio = np.exp(low + (high - low) * shape)
    h, w = np.rint(np.sqrt(target / ratio)), np.rint(np.sqrt(target * ratio))
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    boxes = np.stack([np.floor(top * (height - h + 1)), np.floor(left * (width - w + 1)), h, w], axis=-1)
    found = boxes[np.arange(len(boxes)), fits.argmax(axis=1)]
    return np.where(fits.any(axis=1, keepdims=True), found, _centred(height, width)).astype(np.int64)


def _centred(height: npt.NDArray[np.float64], width: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest crops of a valid shape, ``N x 4``, of images whose sizes are ``N x 1``."""
    h = np.minimum(height, np.rint(width / CROP_RATIOS[0]))
    w = np.minimum(width, np.rint(height * CROP_RATIOS[1]))
    return np.concatenate([(height - h) // 2, (width - w) // 2, h, w], axis=1)


def centre_boxes(heights: npt.ArrayLike, widths: npt.ArrayLike, part: float) -> npt.NDArray[np.int64]:
    """The squares in the middle of images that take a part of the shorter side: ``N x 4``, as ``crop_boxes``."""
    height, width = np.asarray(heights), np.asarray(widths)
    side = np.maximum(1, (np.minimum(height, width) * part).astype(np.int64))
    return np.stack([(height - side) // 2, (width - side) // 2, side, side], axis=1)


def draw_holes(num_images: int, image_size: int, rng: np.random.Generator) -> Tensor:
    """Draws where the centre of each image's cutout is.

    Args:
        num_images: Number of images, ``N``.
        image_size: Height and width of the images.
        rng: Source of the draws.

    Returns:
        Row and column, int64, ``N x 2``, uniform over all pixels: the square may reach over the border.
    """
    return torch.from_numpy(rng.integers(0, image_size, (num_images, 2)))


def cut_out(images: Tensor, holes: Tensor, side: int) -> Tensor:
    """Sets a square of each image to zero, the mean colour of normalised images.

    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).

    Args:
        images: Normalised, float32, ``N x C x H x W``; they are changed.
        holes: Of ``draw_holes``, ``N x 2``.
        side: Of the squares, in pixels. An even one reaches one pixel further up and left than down and right.

    Returns:
        The same images.

    Example:
        >>> cut_out(torch.ones(1, 1, 3, 3), torch.tensor([[0, 1]]), side=2)[0, 0].int()
        tensor([[0, 0, 1],
                [1, 1, 1],
                [1, 1, 1]], dtype=torch.int32)
    """
    holes = holes.to(images.device)
    inside = []
    for dimension in (0, 1):
        start = holes[:, dimension, None] - side // 2
        pixels = torch.arange(images.shape[dimension + 2], device=images.device)
        inside.append((pixels >= start) & (pixels < start + side))
    return images.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


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
        images: ``N x C x H x W``, any type, on the CPU.
        offsets: Of ``draw_offsets``, ``N x 2``.
        padding: Number of zero pixels added at each side.

    Returns:
        The crops, ``N x C x H x W``.

    Example:
        >>> crop(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([[0, 1]]), padding=1)
        tensor([[[[0, 0],
                  [1, 2]]]])
    """
    number, channels, height, width = images.shape
    padded = images.new_zeros(number, channels, height + 2 * padding, width + 2 * padding)
    padded.numpy()[:, :, padding : padding + height, padding : padding + width] = images.numpy()
    return windows(padded, (height, width), torch.arange(number), offsets)


def windows(images: Tensor, size: tuple[int, int], indices: Tensor, offsets: Tensor) -> Tensor:
    """Copies a part of each of some images.

    Args:
        images: ``N x C x H x W``, any type.
        size: Height and width of the parts.
        indices: Which images, int64, ``B``.
        offsets: Row and column where each part begins, int64, ``B x 2``.

    Returns:
        The parts, ``B x C x height x width``.
    """
    # A view of every part of every image: N x rows x columns x C x height x width.
    parts = images.unfold(2, size[0], 1).unfold(3, size[1], 1).movedim(1, 3)
    places = (indices, offsets[:, 0], offsets[:, 1])
    if images.device.type == "cpu":
        # Ten times faster than torch, which copies one pixel at a time.
        return torch.from_numpy(parts.numpy()[tuple(place.numpy() for place in places)])
    return parts[tuple(place.to(images.device) for place in places)]


# On the CPU both functions below compute with NumPy, in the thread that calls them: torch would share the work among
# threads of its own, which then wait for those that decode.


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirrors images left to right.

    Args:
        images: ``N x C x H x W``, any type; they may be changed.
        flips: Of ``draw_flips``, bool, ``N``: which images to mirror.

    Returns:
        The images, ``N x C x H x W``.

    Example:
        >>> flip(torch.tensor([[[[1, 2]]], [[[3, 4]]]]), torch.tensor([True, False])).flatten(1)
        tensor([[2, 1],
                [3, 4]])
    """
    if images.device.type != "cpu":
        return torch.where(flips.to(images.device)[:, None, None, None], images.flip(-1), images)
    pixels, chosen = images.numpy(), np.flatnonzero(flips)
    pixels[chosen] = pixels[chosen][..., ::-1]
    return images


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32, ``C``, of uint8 images ``N x C x H x W``."""
    # Through exact counts: no float copy of the images, the same result in any order.
    channels = images.transpose(0, 1).flatten(1)
    return statistics_of_counts(
        np.stack([np.bincount(channel, minlength=256) for channel in channels.numpy()])
    )


def statistics_of_counts(counts: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32, ``C``, that has each of 256 values so often, ``C x 256``."""
    times = torch.from_numpy(counts).double()
    values, number = torch.arange(256, dtype=torch.float64), times.sum(dim=1)
    mean = times @ values / number
    std = (times @ values.square() / number - mean.square()).clamp_min(0).sqrt()
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
    if images.device.type != "cpu":
        converted = images.to(torch.float32, memory_format=torch.contiguous_format)
        return converted.sub_(mean[:, None, None]).div_(std[:, None, None])
    values = images.numpy().astype(np.float32, order="C")
    values -= mean.numpy()[:, None, None]
    values /= std.numpy()[:, None, None]
    return torch.from_numpy(values)
