"""Writing image files into FFCV's format.

FFCV's own writer waits for ever where one of its processes fails, as it does on a broken image or a full disk. Here one
thread writes what others encode, in the order of the files: so an error ends it, and the same files give the
same bytes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track

from lightning_nas.data.beton import BetonFile, Mode, ffcv_imports
from lightning_nas.data.folders import LabelledFiles, read_rgb
from lightning_nas.errors import NASError
from lightning_nas.files import is_full, written_whole
from lightning_nas.random import Stream, generator

PAGE = 1 << 23  # bytes; no image can take more

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Encoding:
    """How images are stored, see ``Manifest``."""

    mode: Mode
    max_side: int | None
    quality: int
    compressed: float

    def compresses(self, num_images: int) -> npt.NDArray[np.bool_]:
        """Which images are compressed."""
        part = {"raw": 0.0, "jpg": 1.0, "mixed": self.compressed}[self.mode]
        return generator(0, Stream.COMPRESS).random(num_images) < part


class Encoded(NamedTuple):
    """An image as it is stored.

    Attributes:
        record: What the file says of it.
        content: Its bytes.
        histogram: How often each channel has each value, ``3 x 256``.
    """

    record: npt.NDArray[Any]
    content: npt.NDArray[np.uint8]
    histogram: npt.NDArray[np.int64]


class Written(NamedTuple):
    """A file that was written.

    Attributes:
        file: The file.
        histogram: How often each channel of the images that count has each value, ``3 x 256``.
    """

    file: BetonFile
    histogram: npt.NDArray[np.int64]


def readable(labelled: LabelledFiles, workers: int) -> tuple[LabelledFiles, list[str]]:
    """The files that can be decoded, and the others; it decodes them all."""

    def decodes(file: str) -> bool:
        try:
            read_rgb(file)
        except NASError:
            return False
        return True

    good = list(
        _shown(_ahead(decodes, labelled.files, workers), len(labelled.files), "Looking for broken images")
    )
    bad = [file for file, whole in zip(labelled.files, good, strict=True) if not whole]
    return labelled.of(torch.tensor(good).nonzero()[:, 0]), bad


def write_beton(
    path: Path,
    labelled: LabelledFiles,
    encoding: Encoding,
    workers: int,
    counted: npt.NDArray[np.bool_] | None = None,
) -> Written:
    """Encodes image files into one file.

    Args:
        path: The file to write, which appears when it is whole.
        labelled: The image files and their classes.
        encoding: How images are stored.
        workers: Threads that encode.
        counted: Which images count for the histogram; None for all.

    Raises:
        NASError: An image cannot be decoded or is too large, or there is no space left.
    """
    compressed = encoding.compresses(len(labelled.files))
    histogram = np.zeros((3, 256), np.int64)

    def encode(number: int) -> Encoded:
        return _encode(labelled.files[number], encoding, bool(compressed[number]))

    def encoded() -> Iterator[Encoded]:
        nonlocal histogram
        numbers = range(len(labelled.files))
        for number, image in enumerate(
            _shown(_ahead(encode, numbers, workers), len(numbers), f"Writing {path.name}")
        ):
            if counted is None or counted[number]:
                histogram += image.histogram
            yield image

    try:
        with written_whole(path) as temporary:
            _write(temporary, labelled.labels.numpy(), encoded())
            with temporary.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            size = temporary.stat().st_size
    except OSError as error:
        if not is_full(error):
            raise
        raise NASError(f"out is {path.parent}, where no space is left: {path.name} is not written") from error
    return Written(BetonFile(path.name, len(labelled.files), size, digest, []), histogram)


def _encode(file: str, encoding: Encoding, compressed: bool) -> Encoded:
    with ffcv_imports():
        import cv2
        from ffcv.fields import RGBImageField
        from ffcv.fields.rgb_image import resizer
    image = read_rgb(file)
    field = RGBImageField(write_mode="jpg" if compressed else "raw", jpeg_quality=encoding.quality)
    record, content = np.zeros(1, field.metadata_type), np.empty(0, np.uint8)

    def allocate(size: int) -> tuple[int, npt.NDArray[np.uint8]]:
        nonlocal content
        content = np.empty(size, np.uint8)
        return 0, content

    try:
        pixels = resizer(np.asarray(image), encoding.max_side)
        field.encode(record, pixels, allocate)
    # One side is too long for the format, or would be reduced to nothing.
    except (cv2.error, ValueError, OverflowError) as error:
        raise NASError(
            f"max_side is {encoding.max_side}, with which {file} of {image.width} x {image.height} pixels cannot be stored"
        ) from error
    if len(content) > PAGE:
        raise NASError(
            f"max_side is {encoding.max_side}, and {file} then takes {len(content):,} bytes: at most {PAGE:,} fit, so give "
            "a smaller max_side, or mode jpg"
        )
    counted = np.stack([np.bincount(channel, minlength=256) for channel in pixels.reshape(-1, 3).T])
    return Encoded(record, content, counted)


def _write(path: Path, labels: npt.NDArray[np.int64], images: Iterable[Encoded]) -> None:
    with ffcv_imports():
        from ffcv.fields import IntField, RGBImageField
        from ffcv.memory_allocator import MemoryAllocator
        from ffcv.writer import DatasetWriter
    writer = DatasetWriter(str(path), {"image": RGBImageField(), "label": IntField()}, PAGE, num_workers=1)
    writer.num_samples = len(labels)
    writer.prepare()
    try:
        metadata = np.frombuffer(writer.metadata_sm.buf, writer.metadata_type)[: len(labels)]
        metadata["f1"] = labels
        allocator = MemoryAllocator(str(path), writer.data_region_start, PAGE)
        allocator.__enter__()  # its __exit__ would write once more after an error
        with allocator.fp:
            for number, image in enumerate(images):
                allocator.set_current_sample(number)
                metadata["f0"][number] = image.record[0]
                metadata["f0"]["data_ptr"][number], region = allocator.malloc(len(image.content))
                region[:] = image.content
            allocator.flush_page()
        writer.finalize(allocator.allocations)
    finally:
        del metadata  # which would keep the shared memory open
        writer.metadata_sm.close()
        writer.metadata_sm.unlink()


def _ahead(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """The results for all items, in order, of which a few are computed ahead."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _shown(results: Iterator[Result], total: int, title: str) -> Iterator[Result]:
    yield from track(results, title, total=total, console=Console(stderr=True))
