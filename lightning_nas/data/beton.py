"""Datasets in FFCV's format (Leclerc et al., FFCV: Accelerating Training by Removing Data Bottlenecks, CVPR 2023).

A folder holds a file of images and labels for each split, and a manifest that says what they are.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

MANIFEST = "manifest.json"
Mode = Literal["raw", "jpg", "mixed"]


@contextmanager
def ffcv_imports() -> Iterator[None]:
    """Imports FFCV within it.

    Raises:
        NASError: It is not installed, or its system libraries are not.
    """
    threads = torch.get_num_threads()
    try:
        yield
    except ImportError as error:
        raise NASError(
            f"FFCV cannot be imported ({error}): it is built with the packages g++, pkg-config, libopencv-dev, "
            "libturbojpeg0-dev and python3-dev (Debian's names) by pip install 'lightning-nas[ffcv]'"
        ) from error
    finally:
        torch.set_num_threads(threads)  # which its import sets to 1


def require_ffcv() -> None:
    """Refuses what needs FFCV, before hours are spent on reading images.

    Raises:
        NASError: It cannot be imported.
    """
    with ffcv_imports():
        import ffcv  # noqa: F401


@dataclass(frozen=True)
class BetonFile:
    """A file of images and labels.

    Attributes:
        name: Its name in the folder.
        images: How many it holds.
        bytes: Its size.
        sha256: Its checksum.
        skipped: Image files that could not be read and are left out, by their paths in the dataset.
    """

    name: str
    images: int
    bytes: int
    sha256: str
    skipped: list[str]


@dataclass(frozen=True)
class Manifest:
    """What a folder of converted images holds.

    Attributes:
        dataset: Name of the dataset.
        classes: Names of the classes in the order of their labels.
        listing: Digest of the image files that were converted.
        mode: Whether images are stored as pixels, compressed as JPEG, or some of them so.
        max_side: The longer side that larger images were reduced to; None for their own.
        quality: Of the compression, 1 to 100.
        compressed: Part of the images that are compressed in the mode mixed.
        val_fraction: Part of the file ``train`` that is held out for validation.
        split_seed: Seed of that split.
        mean: Mean of each channel of the training images, in pixel values.
        std: Standard deviation of each channel of the training images, in pixel values.
        files: The files by split, train and test, as far as they are written.
    """

    dataset: str
    classes: list[str]
    listing: str
    mode: Mode
    max_side: int | None
    quality: int
    compressed: float
    val_fraction: float
    split_seed: int
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    files: dict[str, BetonFile] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a folder.

        Raises:
            NASError: There is none, or it is not one.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise NASError(
                f"root is {folder}, but must be a folder that `lightning-nas convert --data IMAGES --out FOLDER` has "
                f"written: there is no {MANIFEST}"
            )
        try:
            content = json.loads(path.read_text())
            files = {split: BetonFile(**entry) for split, entry in content.pop("files").items()}
            manifest = cls(**content, files=files)
            # The decoder, which checks no bounds, makes images of as many channels.
            if files and not (len(manifest.mean) == len(manifest.std) == 3 and min(manifest.std) > 0):
                raise ValueError("mean and std must be three numbers each, those of std above 0")
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NASError(f"{path} is not a manifest of converted images: {error}") from error

    def write(self, folder: Path) -> None:
        """Writes it into a folder."""
        with written_whole(folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True)
class Beton:
    """An open file of images and labels, in columns: an entry for each image.

    Attributes:
        path: The file.
        pointers: Where the image begins, in bytes.
        sizes: Its bytes.
        compressed: Whether these are a JPEG, or pixels.
        heights: Of the image.
        widths: Of the image.
        labels: Its class.
        pages: Number of the page of the file that it lies in.
    """

    path: Path
    pointers: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    compressed: npt.NDArray[np.bool_]
    heights: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    pages: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path, file: BetonFile, num_classes: int) -> Self:
        """Reads everything but the images.

        Raises:
            NASError: The file is missing, truncated, damaged, or another one than the manifest says.
        """
        path = folder / file.name
        require_size(path, file.bytes)
        with ffcv_imports():
            from ffcv.reader import Reader
        try:
            beton = cls._of(path, Reader(str(path)))
        # A damaged header makes the reader stumble in many ways.
        except Exception as error:
            raise damaged(path, f"its header cannot be read ({error})") from error
        beton._require(file, num_classes)
        return beton

    @classmethod
    def _of(cls, path: Path, reader: Any) -> Self:
        images, labels = (
            reader.metadata[f"f{reader.field_names.index(name)}"] for name in ("image", "label")
        )
        regions = np.sort(reader.alloc_table, order="ptr")
        region = regions[np.searchsorted(regions["ptr"], images["data_ptr"])]
        if (region["ptr"] != images["data_ptr"]).any():
            raise ValueError("images without a region of their own")
        if not reader.page_size:
            raise ValueError("pages of no bytes")
        pointers = images["data_ptr"].astype(np.int64)
        return cls(
            path,
            pointers,
            region["size"].astype(np.int64),
            images["mode"] == 0,
            images["height"].astype(np.int64),
            images["width"].astype(np.int64),
            labels.astype(np.int64),
            pointers // int(reader.page_size),
        )

    def _require(self, file: BetonFile, num_classes: int) -> None:
        if len(self.labels) != file.images:
            raise damaged(self.path, f"it holds {len(self.labels)} images, and should hold {file.images}")
        if self.labels.min() < 0 or self.labels.max() >= num_classes:
            raise damaged(
                self.path,
                f"it has labels from {self.labels.min()} to {self.labels.max()}, and there are {num_classes} classes",
            )
        pixels = 3 * self.heights * self.widths
        # Sizes are subtracted, because sums of what a damaged file says may overflow.
        inside = (self.pointers >= 0) & (self.sizes > 0) & (self.pointers <= file.bytes - self.sizes)
        if not (inside & (self.compressed | (self.sizes == pixels)) & (pixels > 0)).all():
            raise damaged(self.path, "it has images of impossible sizes")

    @cached_property
    def storage(self) -> npt.NDArray[np.uint8]:
        """All bytes of the file, of which the system keeps in memory what it has room for."""
        return np.memmap(self.path, np.uint8, mode="r")

    def __getstate__(self) -> dict[str, Any]:
        """Without the file's bytes, which would be copied where this is pickled."""
        return {name: value for name, value in vars(self).items() if name != "storage"}


def require_size(path: Path, size: int) -> None:
    """Looks whether a file is whole, without reading it.

    Raises:
        NASError: It is missing, or has another size.
    """
    if not path.is_file():
        raise NASError(f"{path} is missing, which {MANIFEST} beside it names: convert the images again")
    if path.stat().st_size != size:
        raise damaged(path, f"it has {path.stat().st_size:,} bytes, and should have {size:,}")


def damaged(path: Path, reason: str) -> NASError:
    """The error about a file that is not what the manifest says."""
    return NASError(
        f"{path} is damaged, or another file than {MANIFEST} says: {reason}; remove it and convert the images again"
    )
