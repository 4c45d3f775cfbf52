"""The handwritten digits that come with scikit-learn: a dataset that needs no download."""

import torch
from sklearn.datasets import load_digits

from lightning_nas.data.base import stratified_order
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.errors import NASError, require_at_least

NUM_DIGITS = 1797


class DigitsDataModule(ResidentDataModule):
    """1,797 grey images of 8x8 pixels in ten classes (Alpaydin and Kaynak, UCI 1998).

    What is neither in the training nor in the validation split is the test split. All three hold the classes in
    their overall proportions.

    Example:
        >>> data = DigitsDataModule(batch_size=50)
        >>> x, y, indices = next(iter(data.train_dataloader()))
        >>> x.shape, y.shape
        (torch.Size([50, 1, 8, 8]), torch.Size([50]))
    """

    name = "digits"
    num_classes = 10
    classes = tuple("0123456789")
    in_channels = 1
    image_size = 8

    def __init__(
        self,
        train_size: int = 300,
        val_size: int = 500,
        batch_size: int = 50,
        eval_batch_size: int = 250,
        crop_padding: int = 1,
        flip: bool = False,
        cutout: int = 0,
        balanced: bool = False,
        split_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        """Checks that the sizes fit.

        Args:
            train_size: Number of training images.
            val_size: Number of validation images.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            crop_padding: Zero pixels added at each side before a random crop of training images; 0 for no crop.
            flip: Whether half of the training images are mirrored; off, because a mirrored digit is none.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If a size is below 1, a split would be empty, or a batch exceeds the training split.
        """
        super().__init__(batch_size, eval_batch_size, crop_padding, flip, cutout, balanced, split_seed, seed)
        require_at_least(1, train_size=train_size, val_size=val_size)
        if train_size + val_size >= NUM_DIGITS:
            raise NASError(
                f"train_size + val_size is {train_size} + {val_size}, but must be at most {NUM_DIGITS - 1} to leave "
                f"a test image of the {NUM_DIGITS} digits."
            )
        if batch_size > train_size:
            raise NASError(f"batch_size is {batch_size}, but must be at most train_size, {train_size}.")
        self.train_size = train_size
        self.num_val = val_size

    def read_splits(self) -> RawSplits:
        """Reads and splits the digits."""
        digits = load_digits()
        # Grey values 0 to 16 become 0 to 240, without rounding.
        images = torch.from_numpy(digits.images).mul(15).to(torch.uint8)[:, None]
        labels = torch.from_numpy(digits.target).to(torch.int64)
        order = stratified_order(labels, self.split_seed)
        ends = self.train_size, self.train_size + self.num_val
        train, val, test = order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :]
        return RawSplits(*((images[part], labels[part]) for part in (train, val, test)))
