"""Folders of image files, decoded once into a cache of bytes."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from lightning_nas.data.base import check_at_least, stratified_order
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def list_classes(folder: Path) -> dict[str, list[Path]]:
    """Lists the images of a split.

    Args:
        folder: Folder of the split, with one folder per class.

    Returns:
        The files of each class, both sorted by name. Hidden files are left out.

    Raises:
        NASError: If the folder is missing, has no classes, or a class without images.
    """
    if not folder.is_dir():
        raise NASError(f"root must hold train/<class>/* and test/<class>/*, but there is no folder {folder}.")
    classes = {
        path.name: [file for file in _visible(path) if file.is_file()]
        for path in _visible(folder)
        if path.is_dir()
    }
    if not classes:
        raise NASError(f"root must hold one folder per class in {folder}, but there is none.")
    for name, files in classes.items():
        if not files:
            raise NASError(f"root must hold images of every class, but {folder / name} has none.")
    return classes


def read_image(file: Path, image_size: int) -> npt.NDArray[np.uint8]:
    """Decodes an image of any size and mode.

    The shorter side is resized to ``image_size``, then the centre is cropped.

    Args:
        file: The image file.
        image_size: Height and width of the result.

    Returns:
        RGB pixel values, ``3 x image_size x image_size``.

    Raises:
        NASError: If the file cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (image_size, image_size), Image.Resampling.BILINEAR)
    # Pillow reports some broken files as a SyntaxError.
    except (OSError, SyntaxError) as error:
        raise NASError(f"root must hold images only, but {file} cannot be decoded: {error}.") from error
    return np.asarray(fitted).transpose(2, 0, 1)


def default_cache_dir() -> Path:
    """The user's cache folder for decoded images; XDG_CACHE_HOME moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_nas"


class ImageFolderDataModule(ResidentDataModule):
    """Images in ``root/train/<class>/*`` and ``root/test/<class>/*``, e.g. the CIFAR-10 images as JPEG files.

    All files are decoded once, into a cache file that is found again as long as no image file changes, and are
    served from memory from then on. The validation split is a stratified part of ``train``.

    Attributes:
        classes: Names of the classes in the order of their labels.
    """

    in_channels = 3

    def __init__(
        self,
        root: str | Path,
        image_size: int = 32,
        val_fraction: float = 0.1,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        crop_padding: int = 4,
        flip: bool = True,
        cutout: int = 0,
        balanced: bool = False,
        split_seed: int = 0,
        seed: int | None = None,
        name: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Lists the files, without reading them.

        Args:
            root: Folder with ``train`` and ``test``.
            image_size: Height and width to which images of another size are resized and cropped.
            val_fraction: Part of the training images that is held out for validation, between 0 and 1.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            crop_padding: Zero pixels added at each side before a random crop of training images; 0 for no crop.
            flip: Whether half of the training images are mirrored.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.
            name: Name of the dataset in tables of ground truth; None for the name of the root folder.
            cache_dir: Folder of the cache; None for the user's cache folder.

        Raises:
            NASError: If an argument is out of range, the folders are not as described, or a split is empty.
        """
        super().__init__(batch_size, eval_batch_size, crop_padding, flip, cutout, balanced, split_seed, seed)
        check_at_least(1, image_size=image_size)
        if not 0 < val_fraction < 1:
            raise NASError(f"val_fraction is {val_fraction}, but must be between 0 and 1, both excluded.")
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise NASError(f"root is {root}, but must be a folder with train/<class>/* and test/<class>/*.")
        train, test = (list_classes(self.root / split) for split in ("train", "test"))
        if different := sorted(train.keys() ^ test.keys()):
            raise NASError(
                f"root must hold the same classes in train and test, but only one has {different[0]!r}."
            )
        self.classes = list(train)
        self.name = name or self.root.name
        self.num_classes = len(train)
        self.image_size = image_size
        self._train_labels = _labels(train)
        self._test_labels = _labels(test)
        self._files = [file for classes in (train, test) for files in classes.values() for file in files]
        self._cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.num_val = round(val_fraction * len(self._train_labels))
        num_train = len(self._train_labels) - self.num_val
        if not self.num_val or not num_train:
            raise NASError(
                f"val_fraction is {val_fraction}, which leaves no image of {len(self._train_labels)} for "
                f"{'validation' if num_train else 'training'}."
            )
        if batch_size > num_train:
            raise NASError(
                f"batch_size is {batch_size}, but must be at most {num_train}, all training images."
            )

    @cached_property
    def cache_file(self) -> Path:
        """Where the decoded images are kept: its name changes with the listing and the image size."""
        digest = hashlib.sha256()
        for file in self._files:
            stat = file.stat()
            digest.update(f"{file.relative_to(self.root)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return self._cache_dir / f"{self.root.name}-{self.image_size}-{digest.hexdigest()[:16]}.npy"

    def prepare_data(self) -> None:
        """Decodes all images unless the cache has them; Lightning calls it in one process and lets others wait.

        Raises:
            NASError: If a file cannot be decoded.
        """
        if self.cache_file.exists():
            return
        shape = (len(self._files), 3, self.image_size, self.image_size)
        with written_whole(self.cache_file) as temporary:
            cache = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            for index, pixels in enumerate(self._decoded()):
                cache[index] = pixels
            cache.flush()

    def _decoded(self) -> Iterator[npt.NDArray[np.uint8]]:
        console = Console(stderr=True)
        with ThreadPoolExecutor() as pool:
            images = pool.map(lambda file: read_image(file, self.image_size), self._files)
            yield from track(images, f"Decoding {self.name}", total=len(self._files), console=console)

    def read_splits(self) -> RawSplits:
        """Splits the images of the cache, which is made where it is missing."""
        self.prepare_data()
        # Copy-on-write, because torch warns of arrays that cannot be written.
        images = torch.from_numpy(np.load(self.cache_file, mmap_mode="c"))
        num_train_and_val = len(self._train_labels)
        order = stratified_order(self._train_labels, self.split_seed)
        train, val = order[self.num_val :], order[: self.num_val]
        return RawSplits(
            (images[train], self._train_labels[train]),
            (images[val], self._train_labels[val]),
            (images[num_train_and_val:].clone(), self._test_labels),
        )


def _labels(classes: dict[str, list[Path]]) -> torch.Tensor:
    sizes = torch.tensor([len(files) for files in classes.values()])
    return torch.arange(len(sizes)).repeat_interleave(sizes)
