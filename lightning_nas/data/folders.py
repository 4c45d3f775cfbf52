"""Image files in ``root/train/<class>/*`` and ``root/test/<class>/*`` (or ``val``, as ImageNet has it)."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor

from lightning_nas.errors import NASError

TEST_FOLDERS = ("test", "val")
LAYOUT = "train/<class>/* and test/<class>/* (or val/<class>/*)"


class LabelledFiles(NamedTuple):
    """The image files of a split.

    Attributes:
        files: Their paths, sorted by class, then by name: plain text, of which ImageNet needs a tenth of the memory.
        labels: Class of each file, int64, ``N``.
    """

    files: list[str]
    labels: Tensor

    def of(self, indices: Tensor) -> Self:
        """Some of the files."""
        return type(self)([self.files[index] for index in indices.tolist()], self.labels[indices])


class ImageFolders(NamedTuple):
    """The image files of a dataset.

    Attributes:
        classes: Names of the classes in the order of their labels.
        train: What training and validation images are taken from.
        test: The test images.
    """

    classes: list[str]
    train: LabelledFiles
    test: LabelledFiles

    @classmethod
    def list(cls, root: Path, key: str = "root") -> Self:
        """Lists the files, without reading them.

        Args:
            root: The folder.
            key: What the user calls it.

        Raises:
            NASError: A folder is missing, or the classes of the splits differ.
        """
        if not root.is_dir():
            raise NASError(f"{key} is {root}, but must be a folder with {LAYOUT}.")
        test_folder = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), root / "test")
        train, test = list_classes(root / "train", key), list_classes(test_folder, key)
        if different := sorted(train.keys() ^ test.keys()):
            raise NASError(
                f"{key} must hold the same classes in train and {test_folder.name}, but only one has {different[0]!r}."
            )
        return cls(list(train), _labelled(train), _labelled(test))

    def digest(self) -> str:
        """Changes with the names, sizes and times of the files, but not with where the folder lies."""
        root, digest = str(Path(self.train.files[0]).parents[2]), hashlib.sha256()
        for file in self.train.files + self.test.files:
            stat, name = Path(file).stat(), file.removeprefix(root).lstrip(os.sep)
            digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0"))
        return digest.hexdigest()


def list_classes(folder: Path, key: str = "root") -> dict[str, list[str]]:
    """Lists the images of a split.

    Args:
        folder: Folder of the split, with one folder per class.
        key: What the user calls the folder around it.

    Returns:
        The files of each class, both sorted by name. Hidden files are left out.

    Raises:
        NASError: If the folder is missing, has no classes, or a class without images.
    """
    if not folder.is_dir():
        raise NASError(f"{key} must hold {LAYOUT}, but there is no folder {folder}.")
    classes = {
        entry.name: [file.path for file in _visible(entry.path) if file.is_file()]
        for entry in _visible(folder)
        if entry.is_dir()
    }
    if not classes:
        raise NASError(f"{key} must hold one folder per class in {folder}, but there is none.")
    for name, files in classes.items():
        if not files:
            raise NASError(f"{key} must hold images of every class, but {folder / name} has none.")
    return classes


def read_rgb(file: str | Path) -> Image.Image:
    """Decodes an image file of any kind with 8 bits per channel.

    Raises:
        NASError: If the file cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            # Pillow would cut off what is brighter than 255: it makes nearly all of such an image white.
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has more than 8 bits per channel (mode {image.mode})")
            return image.convert("RGB")
    # All that Pillow raises where a file is broken, or of more than 178 million pixels.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NASError(f"A dataset must hold images only, but {file} cannot be decoded: {error}.") from error


def held_out(num_images: int, val_fraction: float, batch_size: int) -> int:
    """The number of training images that are held out for validation.

    Args:
        num_images: All that there are for training and validation.
        val_fraction: The part for validation.
        batch_size: Of training.

    Raises:
        NASError: The part is not between 0 and 1, leaves a split empty, or training without a whole batch.
    """
    if not 0 < val_fraction < 1:
        raise NASError(f"val_fraction is {val_fraction}, but must be between 0 and 1, both excluded.")
    num_val = round(val_fraction * num_images)
    num_train = num_images - num_val
    if not num_val or not num_train:
        raise NASError(
            f"val_fraction is {val_fraction}, which leaves no image of {num_images} for "
            f"{'validation' if num_train else 'training'}."
        )
    if batch_size > num_train:
        raise NASError(f"batch_size is {batch_size}, but must be at most {num_train}, all training images.")
    return num_val


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name
        )


def _labelled(classes: dict[str, list[str]]) -> LabelledFiles:
    sizes = torch.tensor([len(files) for files in classes.values()])
    files = [file for files in classes.values() for file in files]
    return LabelledFiles(files, torch.arange(len(sizes)).repeat_interleave(sizes))
