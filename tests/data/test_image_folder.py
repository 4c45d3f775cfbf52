import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_nas.data import image_folder
from lightning_nas.data.folders import list_classes
from lightning_nas.data.image_folder import ImageFolderDataModule, default_cache_dir, read_image
from lightning_nas.errors import NASError

CLASSES = ("bird", "cat")
TRAIN, TEST = 10, 3


def pixels_of(split: str, label: int, number: int) -> np.ndarray:
    seed = [("train", "test").index(split), label, number]
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of lossless files, so that pixels can be compared exactly."""
    for split, count in (("train", TRAIN), ("test", TEST)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "birds" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(pixels_of(split, label, number)).save(folder / f"{number:02}.png")
    return tmp_path / "birds"


def module(root: Path, **options: Any) -> ImageFolderDataModule:
    defaults = {"image_size": 8, "val_fraction": 0.4, "batch_size": 4, "cache_dir": root.parent / "cache"}
    arguments: dict[str, Any] = defaults | options
    return ImageFolderDataModule(root, **arguments)


def contents(images: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, ...]]:
    return sorted(
        (label, *image.flatten().tolist()) for image, label in zip(images, labels.tolist(), strict=True)
    )


def test_splits_hold_the_files_exactly(root: Path) -> None:
    train, val, test = module(root).read_splits()
    for split, count, images, labels in (
        ("train", TRAIN, torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]])),
        ("test", TEST, *test),
    ):
        numbers = [(label, number) for label in range(2) for number in range(count)]
        pixels = [pixels_of(split, *number).transpose(2, 0, 1) for number in numbers]
        expected = torch.from_numpy(np.stack(pixels)), torch.tensor([label for label, _ in numbers])
        assert contents(images, labels) == contents(*expected)
    assert torch.bincount(train[1]).tolist() == [6, 6]
    assert torch.bincount(val[1]).tolist() == [4, 4]


def test_facts_are_known_before_reading(root: Path) -> None:
    data = module(root)
    facts = data.name, data.num_classes, data.in_channels, data.image_size, data.num_val, data.classes
    assert facts == ("birds", 2, 3, 8, 8, ["bird", "cat"])
    assert not (root.parent / "cache").exists()
    assert module(root, name="other").name == "other"


def test_the_split_has_its_own_seed(root: Path) -> None:
    first, other_seed, other_split = (
        module(root, seed=seed, split_seed=split_seed).read_splits().val[0]
        for seed, split_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, other_seed)
    assert not torch.equal(first, other_split)


def test_loaders(root: Path) -> None:
    data = module(root, seed=0, eval_batch_size=3)
    assert [tuple(x.shape) for x, *_ in data.train_dataloader()] == [(4, 3, 8, 8)] * 3
    assert [len(y) for _, y in data.val_dataloader()] == [3, 3, 2]
    assert [y.tolist() for _, y in data.test_dataloader()] == [[0, 0, 0], [1, 1, 1]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded so far."""
    files: list[Path] = []

    def counted(file: Path, image_size: int) -> np.ndarray:
        files.append(file)
        return read_image(file, image_size)

    monkeypatch.setattr(image_folder, "read_image", counted)
    return files


def test_files_are_decoded_once(root: Path, decoded: list[Path]) -> None:
    module(root).prepare_data()
    assert len(decoded) == 2 * (TRAIN + TEST)
    module(root, seed=3, val_fraction=0.2).read_splits()
    assert len(decoded) == 2 * (TRAIN + TEST)


def test_the_cache_follows_the_files(root: Path) -> None:
    before = module(root).cache_file
    assert module(root, image_size=6).cache_file != before
    changed = root / "test" / "cat" / "00.png"
    stat = changed.stat()
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = module(root).cache_file
    assert touched != before
    changed.write_bytes(changed.read_bytes() + b"x")
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert module(root).cache_file not in (before, touched)
    changed.rename(changed.with_name("a.png"))
    renamed = module(root).cache_file
    assert renamed not in (before, touched)
    shutil.move(changed.with_name("a.png"), root / "test" / "bird" / "a.png")
    assert module(root).cache_file not in (before, touched, renamed)


def test_the_cache_follows_a_moved_dataset(root: Path) -> None:
    moved = Path(shutil.copytree(root, root.parent / "moved" / root.name))
    assert module(moved, cache_dir=root.parent / "cache").cache_file == module(root).cache_file


def with_another_pixel(data: ImageFolderDataModule) -> None:
    content = bytearray(data.cache_file.read_bytes())
    content[-1] ^= 1
    data.cache_file.write_bytes(content)


def cut(data: ImageFolderDataModule) -> None:
    data.cache_file.write_bytes(data.cache_file.read_bytes()[:-100])


def empty(data: ImageFolderDataModule) -> None:
    data.cache_file.write_bytes(b"")


def without_checksum(data: ImageFolderDataModule) -> None:
    data.checksum_file.unlink()


def with_half_a_checksum(data: ImageFolderDataModule) -> None:
    data.checksum_file.write_bytes(data.checksum_file.read_bytes()[:20])


def of_other_images(data: ImageFolderDataModule) -> None:
    np.save(data.cache_file, 255 - np.load(data.cache_file))


def of_another_dataset(data: ImageFolderDataModule) -> None:
    """Both files of one, under the names of these."""
    of_other_images(data)
    digest = hashlib.sha256(data.cache_file.read_bytes()).hexdigest()
    data.checksum_file.write_text(f"{digest}  other-8-0123456789abcdef.npy\n")


@pytest.mark.parametrize(
    "damage",
    [
        with_another_pixel,
        cut,
        empty,
        without_checksum,
        with_half_a_checksum,
        of_other_images,
        of_another_dataset,
    ],
)
def test_a_damaged_cache_is_made_anew(
    root: Path,
    decoded: list[Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[ImageFolderDataModule], None],
) -> None:
    data = module(root)
    before = data.read_splits()
    whole = data.cache_file.read_bytes(), data.checksum_file.read_bytes()
    damage(data)
    capsys.readouterr()
    decoded.clear()

    again = module(root).read_splits()
    sentence = f"{data.cache_file} does not match {data.checksum_file.name}: decoding birds again"
    assert capsys.readouterr().err.splitlines().count(sentence) == 1
    assert len(decoded) == 2 * (TRAIN + TEST)
    for split, expected in zip(again, before, strict=True):
        assert torch.equal(split[0], expected[0])
    assert (data.cache_file.read_bytes(), data.checksum_file.read_bytes()) == whole

    module(root).read_splits()
    assert capsys.readouterr().err == ""
    assert len(decoded) == 2 * (TRAIN + TEST)


def test_the_checksum_is_that_of_sha256sum(root: Path) -> None:
    data = module(root)
    data.prepare_data()
    digest = hashlib.sha256(data.cache_file.read_bytes()).hexdigest()
    assert data.checksum_file.read_text() == f"{digest}  {data.cache_file.name}\n"


def test_processes_that_start_together_do_not_disturb_each_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One makes the whole cache while the other is at its last image."""
    last = root / "test" / "cat" / f"{TEST - 1:02}.png"
    found: list[torch.Tensor] = []

    def overtaken(file: Path, image_size: int) -> np.ndarray:
        if Path(file) == last:
            monkeypatch.setattr(image_folder, "read_image", read_image)
            found.append(module(root).read_splits().train[0])
        return read_image(file, image_size)

    monkeypatch.setattr(image_folder, "read_image", overtaken)
    slow = module(root)
    found.append(slow.read_splits().train[0])
    assert torch.equal(*found)
    assert set((root.parent / "cache").iterdir()) == {slow.cache_file, slow.checksum_file}
    assert "does not match" not in capsys.readouterr().err


def test_an_interrupted_cache_leaves_nothing(root: Path) -> None:
    (root / "test" / "cat" / "00.png").write_bytes(b"none")
    data = module(root)
    with pytest.raises(
        NASError, match=r"^A dataset must hold images only, but .*/test/cat/00\.png cannot be decoded"
    ):
        data.prepare_data()
    assert list((root.parent / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written(root: Path) -> None:
    (root.parent / "file").touch()
    data = module(root, cache_dir=root.parent / "file" / "cache")
    with pytest.raises(
        NASError, match=r"^cache_dir is .*/file/cache, but must be a folder with room .*: .*Not a directory"
    ):
        data.prepare_data()


def test_a_full_disk_leaves_nothing(root: Path) -> None:
    code = (
        "import resource\n"
        "from lightning_nas.data import ImageFolderDataModule\n"
        f"cache = {str(root.parent / 'cache')!r}\n"
        f"data = ImageFolderDataModule({str(root)!r}, 64, 0.4, batch_size=4, cache_dir=cache)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "data.prepare_data()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "NASError: cache_dir is " in result.stderr
    assert list((root.parent / "cache").iterdir()) == []


def test_names_need_not_be_unicode(root: Path) -> None:
    file = root / "train" / "cat" / "00.png"
    file.rename(file.with_name(os.fsdecode(b"\xe9 \xff.png")))
    (root / "train" / "bird").rename(root / "train" / "große Hunde")
    (root / "test" / "bird").rename(root / "test" / "große Hunde")
    data = module(root)
    data.prepare_data()
    assert data.classes == ["cat", "große Hunde"]


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "lightning_nas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "lightning_nas"


@pytest.mark.parametrize("size", [(16, 32), (32, 16), (16, 16), (24, 16)])
def test_other_sizes_are_resized_and_cropped(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    scale = 8 / min(size)
    width, height = round(size[0] * scale), round(size[1] * scale)
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    top, left = (height - 8) // 2, (width - 8) // 2
    expected = resized[top : top + 8, left : left + 8].transpose(2, 0, 1)
    # Pillow rounds between its two passes, whose order depends on the part that is kept.
    np.testing.assert_allclose(
        read_image(tmp_path / "image.png", 8).astype(int), expected.astype(int), atol=1
    )


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", 8), np.stack([grey] * 3))


@pytest.mark.parametrize("kept", [0, 20, 100])
def test_truncated_images_name_the_file(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "broken.jpg"
    Image.fromarray(pixels_of("train", 0, 0)).save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(NASError, match=r"broken\.jpg cannot be decoded"):
        read_image(file, 8)


def test_more_than_8_bits_per_channel_are_refused(tmp_path: Path) -> None:
    for dtype in (np.uint16, np.int32, np.float32):
        file = tmp_path / f"{np.dtype(dtype)}.tiff"
        Image.fromarray(np.arange(64, dtype=dtype).reshape(8, 8)).save(file)
        with pytest.raises(NASError, match=r"\.tiff cannot be decoded: it has more than 8 bits per channel"):
            read_image(file, 8)


@pytest.mark.parametrize(
    "content", [b"P6 20000 20000 255 ", b"P6 20 2x 255 "], ids=["too many pixels", "no number"]
)
def test_broken_headers_name_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.ppm"
    file.write_bytes(content)
    with pytest.raises(NASError, match=r"broken\.ppm cannot be decoded"):
        read_image(file, 8)


def test_hidden_files_are_no_images(root: Path) -> None:
    before = list_classes(root / "train")
    (root / "train" / ".thumbnails").mkdir()
    (root / "train" / "cat" / ".hidden").touch()
    (root / "train" / "note.txt").touch()
    assert list_classes(root / "train") == before


def test_the_test_split_is_test_where_there_is_val_too(root: Path) -> None:
    shutil.copytree(root / "test", root / "val")
    (root / "val" / "cat" / "00.png").unlink()
    assert len(module(root).splits.test) == 2 * TEST


def test_folder_errors(root: Path) -> None:
    with pytest.raises(NASError, match=r"^root is /missing, but must be a folder with train/<class>/\*"):
        ImageFolderDataModule("/missing")
    (root / "test" / "dog").mkdir()
    with pytest.raises(NASError, match=r"^root must hold images of every class, but .*/test/dog has none\.$"):
        module(root)
    (root / "test" / "dog" / "0.png").touch()
    with pytest.raises(
        NASError, match=r"^root must hold the same classes in train and test, but only one has 'dog'\.$"
    ):
        module(root)
    shutil.rmtree(root / "test")
    with pytest.raises(NASError, match=r"^root must hold train/<class>/\* .* no folder .*/test\.$"):
        module(root)
    (root / "test").mkdir()
    with pytest.raises(
        NASError, match=r"^root must hold one folder per class in .*/test, but there is none\.$"
    ):
        module(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 0.0}, r"^val_fraction is 0\.0, but must be between 0 and 1, both excluded\.$"),
        ({"val_fraction": 1.0}, r"^val_fraction is 1\.0, but must be between 0 and 1, both excluded\.$"),
        ({"val_fraction": 0.01}, r"^val_fraction is 0\.01, which leaves no image of 20 for validation\.$"),
        ({"val_fraction": 0.99}, r"^val_fraction is 0\.99, which leaves no image of 20 for training\.$"),
        ({"image_size": 0}, r"^image_size is 0: valid are numbers from 1$"),
        ({"batch_size": 0}, r"^batch_size is 0: valid are numbers from 1$"),
        ({"batch_size": 13}, r"^batch_size is 13, but must be at most 12, all training images\.$"),
    ],
)
def test_wrong_arguments(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        module(root, **options)
