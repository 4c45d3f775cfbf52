"""Folders of image files, decoded once into a cache of bytes."""

import hashlib
import os
import sys
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

from lightning_nas.data.base import stratified_order
from lightning_nas.data.folders import ImageFolders, held_out, read_rgb
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.files import written_whole


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
    fitted = ImageOps.fit(read_rgb(file), (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)


def default_cache_dir() -> Path:
    """The user's cache folder for decoded images; XDG_CACHE_HOME moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightning_nas"


class ImageFolderDataModule(ResidentDataModule):
    """Images in ``root/train/<class>/*`` and ``root/test/<class>/*`` (or ``val``), e.g. the CIFAR-10 images as JPEG files.

    All files are decoded once, into a cache file that is found again as long as no image file changes, and are
    served from memory from then on. A cache that does not match its checksum is made anew. The validation split is a stratified part of ``train``.

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
            root: Folder with ``train`` and ``test`` or ``val``.
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
        require_at_least(1, image_size=image_size)
        self.root = Path(root).expanduser().resolve()
        self._folders = ImageFolders.list(self.root)
        self.classes = self._folders.classes
        self.name = name or self.root.name
        self.num_classes = len(self.classes)
        self.image_size = image_size
        self._cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.num_val = held_out(len(self._folders.train.files), val_fraction, batch_size)

    @property
    def _files(self) -> list[str]:
        return self._folders.train.files + self._folders.test.files

    @cached_property
    def cache_file(self) -> Path:
        """Where the decoded images are kept: its name changes with the listing and the image size."""
        digest = self._folders.digest()[:16]
        return self._cache_dir / f"{self.root.name}-{self.image_size}-{digest}.npy"

    @property
    def checksum_file(self) -> Path:
        """SHA-256 of the cache, in the form of ``sha256sum``."""
        return self.cache_file.with_suffix(".sha256")

    def prepare_data(self) -> None:
        """Decodes all images unless the cache has them; Lightning calls it in one process and lets others wait.

        A damaged cache is replaced, and stderr says so.

        Raises:
            NASError: If a file cannot be decoded, or the cache cannot be written.
        """
        if self.cache_file.exists():
            if self._is_intact():
                return
            print(
                f"{self.cache_file} does not match {self.checksum_file.name}: decoding {self.name} again",
                file=sys.stderr,
            )
        # The cache takes its place first, so that a checksum is never there without the bytes that it is of. Processes
        # that start together all write the same.
        try:
            with written_whole(self.checksum_file) as checksum, written_whole(self.cache_file) as cache:
                self._decode_into(cache)
                checksum.write_bytes(self._checksum(cache))
        except OSError as error:
            raise NASError(
                f"cache_dir is {self._cache_dir}, but must be a folder with room for the decoded images: {error}."
            ) from error

    def _is_intact(self) -> bool:
        # Cheap: the 184 MB of CIFAR-10 take 0.2 s, decoding them 14.
        checksum = self.checksum_file
        return checksum.exists() and checksum.read_bytes() == self._checksum(self.cache_file)

    def _checksum(self, file: Path) -> bytes:
        """What ``checksum_file`` holds if ``file`` is the cache."""
        with file.open("rb") as opened:
            return f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {self.cache_file.name}\n".encode()

    def _decode_into(self, file: Path) -> None:
        shape = (len(self._files), 3, self.image_size, self.image_size)
        # Not through a memory map: where no space is left, the system would kill the process.
        with file.open("wb") as cache:
            np.lib.format.write_array_header_1_0(
                cache, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for pixels in self._decoded():
                cache.write(pixels.tobytes())

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
        labels, test_labels = self._folders.train.labels, self._folders.test.labels
        order = stratified_order(labels, self.split_seed)
        train, val = order[self.num_val :], order[: self.num_val]
        return RawSplits(
            (images[train], labels[train]),
            (images[val], labels[val]),
            (images[len(labels) :].clone(), test_labels),
        )
