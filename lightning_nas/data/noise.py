"""Images without content: what an estimator says when the data say nothing."""

import torch

from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.errors import require_at_least
from lightning_nas.random import Stream, generator

GREY, SPREAD = 127.5, 40.0
"""Mean and standard deviation of a pixel, of which 0.1 % are cut off at black or white."""


class NoiseDataModule(ResidentDataModule):
    """Normally distributed pixels, and labels that are drawn as well.

    Example:
        >>> x, y = NoiseDataModule(image_size=8).training_images(4)
        >>> x.shape, y.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]))
    """

    name = "noise"

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        train_size: int = 1000,
        val_size: int = 1000,
        batch_size: int = 50,
        eval_batch_size: int = 250,
        balanced: bool = False,
        split_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        """Checks the sizes.

        Args:
            num_classes: Number of classes.
            in_channels: Channels of an image.
            image_size: Height and width of an image.
            train_size: Number of training images.
            val_size: Number of validation images, and of test images.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of images and labels; the same for all runs that are to be compared.
            seed: Seed of the training order; None for the one given to ``seed_everything``.

        Raises:
            NASError: If a size is below 1.
        """
        super().__init__(batch_size, eval_batch_size, 0, False, 0, balanced, split_seed, seed)
        require_at_least(1, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        require_at_least(1, train_size=train_size, val_size=val_size)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.image_size = image_size
        self.train_size = train_size
        self.num_val = val_size

    def read_splits(self) -> RawSplits:
        """Draws them."""
        sizes = (self.train_size, self.num_val, self.num_val)
        return RawSplits(*(self._split(number, size) for number, size in enumerate(sizes)))

    def _split(self, number: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = generator(self.split_seed, Stream.NOISE, number)
        pixels = rng.normal(GREY, SPREAD, (size, self.in_channels, self.image_size, self.image_size))
        images = torch.from_numpy(pixels).round().clamp(0, 255).to(torch.uint8)
        return images, torch.from_numpy(rng.integers(self.num_classes, size=size))
