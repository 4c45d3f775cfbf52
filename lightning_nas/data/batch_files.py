"""Files that hold images as rows of bytes: all red pixels, then green, then blue, as CIFAR and ImageNet16 have them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchvision.datasets.utils import check_integrity

from lightning_nas.data.base import stratified_order
from lightning_nas.data.resident import RawSplits
from lightning_nas.data.source import Batch
from lightning_nas.data.unpickle import unpickle
from lightning_nas.errors import NASError

CHANNELS = 3


class Rows(NamedTuple):
    """Images as a file holds them.

    Attributes:
        pixels: uint8, ``N x (3 * image_size * image_size)``.
        labels: int64, ``N``.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_pickled(file: Path, label_key: str, image_size: int, valid: range) -> Rows:
    """Reads a pickled dictionary with the images under ``data``.

    Args:
        file: The pickle.
        label_key: Key of the labels: a list of numbers, or an array.
        image_size: Height and width of the images.
        valid: The labels that there may be.

    Raises:
        NASError: The file is damaged, or holds something else.
    """
    content = unpickle(file)
    for key in ("data", label_key):
        if not isinstance(content, dict) or key not in content:
            raise NASError(f"{file} must hold a dictionary with {key!r}, but has none.")
    pixels, labels = np.asarray(content["data"]), np.asarray(content[label_key])
    width = CHANNELS * image_size**2
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != width:
        raise NASError(
            f"'data' of {file} is {pixels.dtype} of shape {pixels.shape}, but must be uint8, N x {width}."
        )
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise NASError(f"{label_key!r} of {file} must be {len(pixels)} whole numbers, one for each image.")
    return Rows(pixels, _valid(labels, valid, file))


def read_binary(file: Path, label_bytes: int, image_size: int, valid: range) -> Rows:
    """Reads records of label bytes, of which the last one counts, and pixels.

    Args:
        file: The file, of whole records.
        label_bytes: Bytes before the pixels of an image.
        image_size: Height and width of the images.
        valid: The labels that there may be.

    Raises:
        NASError: A label is out of range.
    """
    records = np.fromfile(file, np.uint8).reshape(-1, label_bytes + CHANNELS * image_size**2)
    return Rows(records[:, label_bytes:], _valid(records[:, label_bytes - 1], valid, file))


def _valid(labels: npt.NDArray[np.integer], valid: range, file: Path) -> npt.NDArray[np.int64]:
    if wrong := labels[(labels < valid[0]) | (labels > valid[-1])].tolist():
        raise NASError(f"{file} has the label {wrong[0]}, but labels must be {valid[0]} to {valid[-1]}.")
    return labels.astype(np.int64)


def require_md5(file: Path, md5: str, advice: str = "remove it and get it again") -> None:
    """Checks that a file is the published one.

    Raises:
        NASError: Its checksum is another. The sentence ends with the advice.
    """
    if not check_integrity(file, md5):
        raise NASError(f"{file} is not the published file, whose MD5 checksum is {md5}: {advice}.")


def joined(parts: Iterable[Rows], image_size: int) -> Batch:
    """The images of several files: uint8, ``N x 3 x image_size x image_size``, and their labels, int64, ``N``."""
    pixels, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return torch.from_numpy(pixels).view(-1, CHANNELS, image_size, image_size), torch.from_numpy(labels)


def split(train_and_val: Batch, test: Batch, num_val: int, split_seed: int) -> RawSplits:
    """Holds images out of training for validation, as many of every class in proportion."""
    images, labels = train_and_val
    order = stratified_order(labels, split_seed)
    train, val = order[num_val:], order[:num_val]
    return RawSplits((images[train], labels[train]), (images[val], labels[val]), test)
