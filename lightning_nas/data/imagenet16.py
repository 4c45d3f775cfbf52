"""ImageNet of 16x16 pixels, and the part of it that NAS-Bench-201 uses."""

from pathlib import Path

from lightning_nas.data.batch_files import Rows, joined, read_pickled, require_md5, split
from lightning_nas.data.folders import held_out
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.errors import NASError

ALL_CLASSES = 1000
IMAGE_SIZE = 16
PAGE = "https://image-net.org/download-images"

# Of the published files, by name: their MD5 checksums, which the code of NAS-Bench-201 lists.
TRAIN_FILES = {
    "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
    "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
    "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
    "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
    "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
    "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
    "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
    "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
    "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
    "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
}
TEST_FILES = {"val_data": "3410e3017fdaefba8d5073aaa65e4bd6"}


class ImageNet16DataModule(ResidentDataModule):
    """The first classes of ImageNet at 16x16 pixels (Chrabaszcz, Loshchilov and Hutter, arXiv:1707.08819).

    With 120 classes it is ImageNet16-120 of NAS-Bench-201 (Dong and Yang, 2020): 151,700 images in
    ``train_data_batch_1`` to ``train_data_batch_10`` and 6,000 in ``val_data``.

    The splits differ from those of NAS-Bench-201. It trains on all training images and takes half of ``val_data``, by
    lists of its own, for validation, and the other half for the published test accuracies. Here, as with every dataset,
    validation images are held out of the training images, and all of ``val_data`` is the test split: so nothing that a
    search looks at is among the images of the published test accuracies.
    """

    in_channels = 3
    image_size = IMAGE_SIZE

    def __init__(
        self,
        root: str | Path,
        classes: int = 120,
        verify: bool = True,
        val_fraction: float = 0.1,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        crop_padding: int = 2,
        flip: bool = True,
        cutout: int = 0,
        balanced: bool = False,
        split_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        """Checks the files and counts the images of the classes, without keeping any.

        Args:
            root: Folder with ``train_data_batch_1`` to ``train_data_batch_10`` and ``val_data``.
            classes: How many of the 1,000 classes to take, the first ones in the order of the files' labels.
            verify: Whether the files must be the published ones, by their checksums; false for files that were made
                by the authors' scripts.
            val_fraction: Part of the training images that is held out for validation, between 0 and 1.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            crop_padding: Zero pixels added at each side before a random crop of training images; 0 for no crop.
            flip: Whether half of the training images are mirrored.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If an argument is out of range, a split is empty, or a file is missing, damaged or not the
                published one.
        """
        super().__init__(batch_size, eval_batch_size, crop_padding, flip, cutout, balanced, split_seed, seed)
        if not 2 <= classes <= ALL_CLASSES:
            raise NASError(f"classes is {classes}, but must be 2 to {ALL_CLASSES}.")
        self.name = f"imagenet16_{classes}"
        self.num_classes = classes
        self.root = Path(root).expanduser()
        self._require_files(verify)
        number = sum(len(self._read(name).labels) for name in TRAIN_FILES)
        self.num_val = held_out(number, val_fraction, batch_size)

    def _require_files(self, verify: bool) -> None:
        for name, md5 in (TRAIN_FILES | TEST_FILES).items():
            file = self.root / name
            if not file.is_file():
                raise NASError(
                    f"root must hold train_data_batch_1 to train_data_batch_10 and val_data of the 16x16 images of "
                    f"{PAGE}, but there is no {file}."
                )
            if verify:
                require_md5(file, md5, "get it again, or give verify: false if the authors' scripts made it")

    def _read(self, name: str) -> Rows:
        """The images of the classes; no others are kept, so that one file at a time is in memory."""
        pixels, labels = read_pickled(self.root / name, "labels", IMAGE_SIZE, range(1, ALL_CLASSES + 1))
        kept = labels <= self.num_classes
        return Rows(pixels[kept], labels[kept] - 1)

    def read_splits(self) -> RawSplits:
        """Reads and splits the images."""
        train_and_val, test = (
            joined(map(self._read, names), IMAGE_SIZE) for names in (TRAIN_FILES, TEST_FILES)
        )
        return split(train_and_val, test, self.num_val, self.split_seed)
