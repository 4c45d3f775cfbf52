"""Small data sets in the files in which CIFAR and ImageNet16 are published."""

import hashlib
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets

from lightning_nas.data import cifar, imagenet16

CIFAR_TRAIN, CIFAR_TEST = 200, 100
IMAGENET16_CLASSES = 6


class Images(NamedTuple):
    """Pixels, ``N x 3 x S x S``, and labels, ``N``."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def images(number: int, labels: range, size: int, seed: int) -> Images:
    """Random images, of all labels in turn and then shuffled."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (number, 3, size, size), dtype=np.uint8)
    return Images(pixels, rng.permutation(np.resize(labels, number)))


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------------------- CIFAR


def cifar_images(classes: int) -> tuple[Images, Images]:
    """What the files of a small CIFAR hold: the training and the test images."""
    return images(CIFAR_TRAIN, range(classes), 32, seed=0), images(CIFAR_TEST, range(classes), 32, seed=1)


def write_python_version(root: Path, classes: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As Python 2 pickled it, with checksums that torchvision then has."""
    monkeypatch.setattr(cifar, "NUM_TRAIN", CIFAR_TRAIN)
    monkeypatch.setattr(cifar, "NUM_TEST", CIFAR_TEST)
    published = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
    folder: Path = root / published.base_folder
    folder.mkdir(parents=True)
    for split, content in zip(("train_list", "test_list"), cifar_images(classes), strict=True):
        names = [name for name, _ in getattr(published, split)]
        for name, rows in zip(names, np.array_split(np.arange(len(content.labels)), len(names)), strict=True):
            labels = content.labels[rows].tolist()
            lists = (
                {"labels": labels}
                if classes == 10
                else {"fine_labels": labels, "coarse_labels": [0] * len(rows)}
            )
            data = content.pixels[rows].reshape(len(rows), -1)
            (folder / name).write_bytes(python2_pickle({"batch_label": "a batch", **lists, "data": data}))
        monkeypatch.setattr(published, split, [[name, md5(folder / name)] for name in names])
    return folder


def write_binary_version(root: Path, classes: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar, "NUM_TRAIN", CIFAR_TRAIN)
    monkeypatch.setattr(cifar, "NUM_TEST", CIFAR_TEST)
    folder = root / {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[classes]
    folder.mkdir(parents=True)
    train = {10: [f"data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)], 100: ["train.bin"]}[classes]
    test = {10: ["test_batch.bin"], 100: ["test.bin"]}[classes]
    for names, content in zip((train, test), cifar_images(classes), strict=True):
        for name, rows in zip(names, np.array_split(np.arange(len(content.labels)), len(names)), strict=True):
            superclass = b"" if classes == 10 else b"\x13"
            records = [
                superclass + bytes([label]) + pixels.tobytes()
                for pixels, label in zip(content.pixels[rows], content.labels[rows].tolist(), strict=True)
            ]
            (folder / name).write_bytes(b"".join(records))
    return folder


# -------------------------------------------------------------------------------------------------- ImageNet16


def imagenet16_images() -> tuple[Images, Images]:
    """What the files of a small ImageNet16 hold, with labels from 1."""
    labels = range(1, IMAGENET16_CLASSES + 1)
    return images(240, labels, 16, seed=2), images(60, labels, 16, seed=3)


def write_imagenet16(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the authors' scripts pickle it, with checksums that the reader then has."""
    root.mkdir(parents=True, exist_ok=True)
    for files, content in zip(("TRAIN_FILES", "TEST_FILES"), imagenet16_images(), strict=True):
        names = list(getattr(imagenet16, files))
        for name, rows in zip(names, np.array_split(np.arange(len(content.labels)), len(names)), strict=True):
            data = content.pixels[rows].reshape(len(rows), -1)
            batch = {"data": data, "labels": content.labels[rows].tolist(), "mean": data.mean(axis=0)}
            # As Python 3.0 to 3.7 did by default.
            (root / name).write_bytes(pickle.dumps(batch, protocol=3))
        monkeypatch.setattr(imagenet16, files, {name: md5(root / name) for name in names})
    return root


# ---------------------------------------------------------------------------------------------- Python 2 pickles


def python2_pickle(content: Mapping[str, str | list[int] | NDArray[np.generic]]) -> bytes:
    """The bytes that Python 2 and numpy 1 wrote for a dictionary, of which Python 3 writes none: text as bytes."""
    items = b"".join(_text(key.encode()) + _item(value) for key, value in content.items())
    return b"\x80\x02}(" + items + b"u."


def _item(value: str | list[int] | NDArray[np.generic]) -> bytes:
    if isinstance(value, str):
        return _text(value.encode())
    if isinstance(value, list):
        return b"](" + b"".join(_number(number) for number in value) + b"e"
    return _array(value)


def _text(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _array(array: NDArray[np.generic]) -> bytes:
    empty = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + _number(0) + b"t" + _text(b"b") + b"tR"
    )
    code, order = _text(array.dtype.str[1:].encode()), _text(array.dtype.str[:1].encode())
    kind = b"cnumpy\ndtype\n(" + code + _number(0) + _number(1) + b"tR"
    kind += b"(" + _number(3) + order + b"NNN" + _number(-1) + _number(-1) + _number(0) + b"tb"
    shape = b"(" + b"".join(_number(length) for length in array.shape) + b"t"
    return empty + b"(" + _number(1) + shape + kind + b"\x89" + _text(array.tobytes()) + b"tb"
