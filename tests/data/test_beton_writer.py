"""What is written is what FFCV itself reads and writes."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
import torch
from PIL import Image

from lightning_nas.data.beton import Beton, BetonFile, ffcv_imports
from lightning_nas.data.beton_writer import Encoding, readable, write_beton
from lightning_nas.data.folders import ImageFolders, LabelledFiles
from lightning_nas.errors import NASError

RAW, JPG = Encoding("raw", None, 90, 0.5), Encoding("jpg", None, 90, 0.5)


@pytest.fixture
def files(tmp_path: Path) -> LabelledFiles:
    return ImageFolders.list(photographs.write(tmp_path / "photographs")).train


def pixels_of(beton: Beton, number: int) -> np.ndarray:
    content = beton.storage[beton.pointers[number] :][: beton.sizes[number]]
    return content.reshape(beton.heights[number], beton.widths[number], 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_holds_every_pixel_and_label(tmp_path: Path, files: LabelledFiles, workers: int) -> None:
    counted = np.arange(60) % 3 == 0
    file, histogram = write_beton(tmp_path / "a.beton", files, RAW, workers, counted)
    beton = Beton.open(tmp_path, file, 3)
    assert beton.labels.tolist() == files.labels.tolist()
    expected = [np.asarray(Image.open(path)) for path in files.files]
    assert all(np.array_equal(pixels_of(beton, number), image) for number, image in enumerate(expected))
    everything = np.concatenate([image.reshape(-1, 3) for image in expected[::3]])
    assert [np.bincount(channel, minlength=256).tolist() for channel in everything.T] == histogram.tolist()


@pytest.mark.parametrize("encoding", [RAW, JPG, Encoding("mixed", None, 80, 0.3)])
def test_the_same_images_give_the_same_bytes(
    tmp_path: Path, files: LabelledFiles, encoding: Encoding
) -> None:
    first, second = (
        write_beton(tmp_path / f"{workers}.beton", files, encoding, workers)[0] for workers in (1, 4)
    )
    assert (first.sha256, first.bytes) == (second.sha256, second.bytes)
    part = {"raw": 0, "jpg": 60, "mixed": 18}[encoding.mode]
    assert abs(int(Beton.open(tmp_path, first, 3).compressed.sum()) - part) <= (12 if part == 18 else 0)


def test_regions_may_be_listed_in_any_order(tmp_path: Path, files: LabelledFiles) -> None:
    """FFCV's own writer lists them as its processes end."""
    file, _ = write_beton(tmp_path / "a.beton", files, RAW, 2)
    before = Beton.open(tmp_path, file, 3)
    content = (tmp_path / "a.beton").read_bytes()
    table = np.frombuffer(content[-60 * 24 :], np.dtype("V24"))
    (tmp_path / "a.beton").write_bytes(content[: -60 * 24] + table[::-1].tobytes())
    after = Beton.open(tmp_path, file, 3)
    assert after.sizes.tolist() == before.sizes.tolist()
    assert len(set(after.sizes.tolist())) > 1


@pytest.mark.parametrize("shift", [-1, 1])
def test_labels_must_be_those_of_classes(tmp_path: Path, files: LabelledFiles, shift: int) -> None:
    file, _ = write_beton(tmp_path / "a.beton", files._replace(labels=files.labels + shift), RAW, 2)
    with pytest.raises(
        NASError, match=rf"it has labels from {shift} to {2 + shift}, and there are 3 classes"
    ):
        Beton.open(tmp_path, file, 3)


def test_larger_images_are_reduced(tmp_path: Path, files: LabelledFiles) -> None:
    file, _ = write_beton(tmp_path / "a.beton", files, Encoding("raw", 16, 90, 0.5), 2)
    beton = Beton.open(tmp_path, file, 3)
    for number, path in enumerate(files.files):
        height, width = np.asarray(Image.open(path)).shape[:2]
        ratio = min(1, 16 / max(width, height))
        assert (beton.heights[number], beton.widths[number]) == (int(ratio * height), int(ratio * width))


def test_pages_are_as_long_as_images_need(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1200, 1300, 3), dtype=np.uint8)
    (tmp_path / "large").mkdir()
    paths = [str(tmp_path / "large" / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(image + np.uint8(number)).save(path, compress_level=0)
    file, _ = write_beton(tmp_path / "a.beton", LabelledFiles(paths, torch.arange(3)), RAW, 2)
    beton = Beton.open(tmp_path, file, 3)
    assert beton.pages.tolist() == [1, 2, 3]
    assert np.array_equal(pixels_of(beton, 2), image + np.uint8(2))


@pytest.mark.usefixtures("_ffcv")
def test_an_image_larger_than_a_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("RGB", (1700, 1700)).save(path)
    with pytest.raises(
        NASError, match=r"^max_side is None, and .*huge\.png then takes 8,670,000 bytes: at most"
    ):
        write_beton(
            tmp_path / "a.beton", LabelledFiles([str(path)], torch.zeros(1, dtype=torch.int64)), RAW, 1
        )
    assert not (tmp_path / "a.beton").exists()


@pytest.mark.usefixtures("_ffcv")
@pytest.mark.parametrize("mode", ["raw", "jpg"])
@pytest.mark.parametrize(("max_side", "width"), [(500, 1200), (None, 70_000)])
def test_a_stripe_that_cannot_be_stored_is_named(
    tmp_path: Path, mode: Any, max_side: int | None, width: int
) -> None:
    path = tmp_path / "stripe.png"
    Image.new("RGB", (width, 1)).save(path)
    with pytest.raises(
        NASError, match=rf"^max_side is {max_side}, with which .*stripe\.png of {width} x 1 pixels"
    ):
        write_beton(
            tmp_path / "a.beton",
            LabelledFiles([str(path)], torch.zeros(1, dtype=torch.int64)),
            Encoding(mode, max_side, 90, 0.5),
            1,
        )


@pytest.mark.usefixtures("_ffcv")
def test_broken_images_are_told_or_left_out(tmp_path: Path, files: LabelledFiles) -> None:
    Path(files.files[7]).write_bytes(b"none")
    with pytest.raises(NASError, match=f"{Path(files.files[7]).name} cannot be decoded"):
        write_beton(tmp_path / "a.beton", files, RAW, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs"]
    good, bad = readable(files, 2)
    assert bad == [files.files[7]]
    assert good.files == files.files[:7] + files.files[8:]
    assert good.labels.tolist() == [0] * 19 + [1] * 20 + [2] * 20


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, files: LabelledFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ffcv.memory_allocator import MemoryAllocator

    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MemoryAllocator, "flush_page", full)
    with pytest.raises(NASError, match=r"^out is .*, where no space is left: a\.beton is not written$"):
        write_beton(tmp_path / "a.beton", files, RAW, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs"]


def test_a_real_limit_of_space_ends_the_conversion(tmp_path: Path, files: LabelledFiles) -> None:
    with ffcv_imports():
        import ffcv  # noqa: F401
    root = Path(files.files[0]).parents[2]
    code = (
        "import resource, signal, sys\n"
        "from lightning_nas.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000, 9_000_000))\n"
        f"main(['convert', '--data', {str(root)!r}, '--out', {str(tmp_path / 'out')!r}])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert result.returncode == 1
    assert "where no space is left: train.beton is not written" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow  # FFCV compiles its pipeline before the first batch.
def test_ffcvs_own_loader_reads_the_file(tmp_path: Path, files: LabelledFiles) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "a.beton"
    write_beton(path, files, RAW, 2)
    try:
        from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder
        from ffcv.loader import Loader
        from ffcv.transforms import ToTensor

        pipelines = {
            "image": [CenterCropRGBImageDecoder((12, 12), 1), ToTensor()],
            "label": [IntDecoder(), ToTensor()],
        }
        loader = Loader(str(path), batch_size=60, num_workers=1, pipelines=pipelines)
        [(images, labels)] = [(image.clone(), label.clone()) for image, label in loader]
    finally:
        torch.set_num_threads(threads)
    assert labels[:, 0].tolist() == files.labels.tolist()
    for image, file in zip(images, files.files, strict=True):
        pixels = np.asarray(Image.open(file)).astype(float)
        assert abs(float(image.float().mean()) - pixels.mean()) < 25


def test_a_file_of_ffcvs_own_writer_is_read(tmp_path: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    images = np.random.default_rng(0).integers(0, 256, (30, 5, 7, 3), dtype=np.uint8)
    path = tmp_path / "theirs.beton"
    writer = DatasetWriter(
        str(path), {"label": IntField(), "image": RGBImageField(write_mode="raw")}, num_workers=1
    )
    writer.from_indexed_dataset([(number % 4, image) for number, image in enumerate(images)], chunksize=4)
    beton = Beton.open(tmp_path, BetonFile(path.name, 30, path.stat().st_size, "", []), 4)
    assert beton.labels.tolist() == [number % 4 for number in range(30)]
    assert all(np.array_equal(pixels_of(beton, number), image) for number, image in enumerate(images))
