import dataclasses
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_nas.commands import convert
from lightning_nas.data import EpochOrder, FFCVDataModule, ImageNetDataModule, QuasiRandomOrder
from lightning_nas.data.augment import crop, crop_boxes, draw_crops, draw_flips, draw_offsets
from lightning_nas.data.base import stratified_order
from lightning_nas.data.ffcv import BetonImages
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator

SIZE = 8


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checksums that were verified are remembered in the user's cache, which tests leave alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs.converted(tmp_path_factory.mktemp("ffcv"))


def module(root: Path, **options: Any) -> FFCVDataModule:
    defaults = {"image_size": SIZE, "batch_size": 6, "eval_batch_size": 5, "seed": 3}
    return FFCVDataModule(root, **(defaults | options))


def images_of(root: Path, split: str) -> list[np.ndarray]:
    folder = root.parent / "photographs" / split
    return [
        np.asarray(Image.open(file))
        for name in photographs.CLASSES
        for file in sorted((folder / name).iterdir())
    ]


def normalised(pixels: np.ndarray, data: FFCVDataModule) -> Tensor:
    mean, std = (np.array(numbers, np.float32) for numbers in (data.manifest.mean, data.manifest.std))
    values = (pixels.astype(np.float32) - mean) / std
    return torch.from_numpy(values).permute(2, 0, 1)


def resized(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    import cv2  # comes with FFCV

    return cv2.resize(
        image[top : top + height, left : left + width], (SIZE, SIZE), interpolation=cv2.INTER_AREA
    )


def same(first: Any, second: Any) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b)
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_batches_equal_a_plain_recomputation(root: Path) -> None:
    data, images = module(root), images_of(root, "train")
    train = stratified_order(torch.arange(3).repeat_interleave(20), 0)[15:]
    loader = data.train_dataloader()
    for epoch in range(2):
        order = generator(3, Stream.ORDER, epoch).permutation(45)
        for position, (x, y, indices) in enumerate(loader):
            chosen = order[6 * position : 6 * position + 6]
            rng = generator(3, Stream.AUGMENT, epoch, position)
            crops, flips = draw_crops(6, rng), draw_flips(6, rng)
            assert indices.tolist() == chosen.tolist()
            for row, index in enumerate(chosen):
                image = images[train[index]]
                [box] = crop_boxes(crops[row : row + 1], [image.shape[0]], [image.shape[1]], (0.08, 1.0))
                expected = normalised(resized(image, *box), data)
                torch.testing.assert_close(x[row], expected.flip(-1) if flips[row] else expected)
                assert y[row] == train[index] // 20
    assert len(loader) == 7


def test_the_same_crops_as_from_image_files(root: Path) -> None:
    folder = ImageNetDataModule(
        root.parent / "photographs", SIZE, val_fraction=0.25, batch_size=6, eval_batch_size=5, seed=3
    )
    data = module(root)
    for (x, *rest), (x_folder, *rest_folder) in zip(
        data.train_dataloader(), folder.train_dataloader(), strict=True
    ):
        assert same([rest], [rest_folder])
        pixels, pixels_folder = (
            images * source.splits.train.std[:, None, None] + source.splits.train.mean[:, None, None]
            for images, source in ((x, data), (x_folder, folder))
        )
        # They differ by the filter that resizes.
        assert (pixels - pixels_folder).abs().mean() < 6


def test_the_centre_is_evaluated(root: Path) -> None:
    data = module(root)
    x, y = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    assert y.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    for image, pixels in zip(x, images_of(root, "val"), strict=True):
        side = int(0.875 * min(pixels.shape[:2]))
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        torch.testing.assert_close(image, normalised(resized(pixels, top, left, side, side), data))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one size, as CIFAR's, of which every pixel is known."""
    root = tmp_path_factory.mktemp("small")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 10, SIZE, SIZE, 3), dtype=np.uint8)
    for split, classes in zip(("train", "test"), pixels, strict=True):
        for label, images in enumerate(classes):
            folder = root / "photographs" / split / str(label)
            folder.mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{number:02}.png")
    convert(data=root / "photographs", out=root / "converted", mode="raw", val_fraction=0.2)
    return root / "converted"


def test_small_images_are_kept_whole_and_cropped_with_padding(small: Path) -> None:
    data = module(small, area=None, centre=1.0, crop_padding=2, batch_size=5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 10, SIZE, SIZE, 3), dtype=np.uint8)
    train = torch.from_numpy(pixels[0].reshape(20, SIZE, SIZE, 3))
    order = stratified_order(torch.arange(2).repeat_interleave(10), 0)
    for position, (x, _, indices) in enumerate(data.train_dataloader()):
        rng = generator(3, Stream.AUGMENT, 0, position)
        offsets, flips = draw_offsets(5, 2, rng), draw_flips(5, rng)
        expected = crop(train[order[4:][indices]].permute(0, 3, 1, 2), offsets, 2)
        for image, wanted, mirrored in zip(x, expected, flips, strict=True):
            wanted = normalised(wanted.permute(1, 2, 0).numpy(), data)
            assert torch.equal(image, wanted.flip(-1) if mirrored else wanted)
    statistics = train[order[4:]].double()
    torch.testing.assert_close(data.splits.train.mean, statistics.mean((0, 1, 2)).float())
    torch.testing.assert_close(data.splits.train.std, statistics.std((0, 1, 2), correction=0).float())


@pytest.mark.parametrize("mode", ["jpg", "mixed"])
def test_compressed_images_are_close(tmp_path: Path, mode: str) -> None:
    root = photographs.converted(tmp_path, mode=mode, quality=95)
    data = module(root)
    beton = data.splits.test._beton  # type: ignore[attr-defined]
    assert beton.compressed.any()
    assert beton.compressed.all() == (mode == "jpg")
    x, _ = data.splits.test.batch(torch.arange(24))
    for number in np.flatnonzero(beton.compressed):
        content = beton.storage[beton.pointers[number] :][: beton.sizes[number]].tobytes()
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        assert abs(pixels.astype(int) - images_of(root, "val")[number]).mean() < 12
        side = int(0.875 * min(pixels.shape[:2]))
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        expected = normalised(resized(pixels, top, left, side, side), data)
        # The decoders differ by rounding: by less than a tenth of the standard deviation.
        assert (x[number] - expected).abs().mean() < 0.1


@pytest.mark.parametrize(
    "options", [{"workers": 1}, {"workers": 5}, {"batches_ahead": 0}, {"batches_ahead": 9}]
)
def test_threads_do_not_change_the_batches(root: Path, options: dict[str, Any]) -> None:
    assert same(
        list(module(root, workers=2).train_dataloader()), list(module(root, **options).train_dataloader())
    )


@pytest.mark.parametrize("position", [0, 3, 7, 10])
def test_resumes_at_the_next_batch(root: Path, position: int) -> None:
    uninterrupted = module(root).train_dataloader()
    expected = [batch for _ in range(2) for batch in uninterrupted]
    interrupted, resumed = module(root).train_dataloader(), module(root)
    list(islice((batch for _ in range(2) for batch in interrupted), position))
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed.train_dataloader())
    assert len(rest) == 7 - position % 7
    assert same(rest, expected[position : position + len(rest)])


class Repeating(EpochOrder):
    """A few images, again and again, as importance sampling draws them."""

    def indices(self, epoch: int) -> Tensor:
        return torch.tensor([40, 7, 7]).repeat(15) - epoch


def test_images_may_be_drawn_with_replacement(root: Path) -> None:
    data = module(root)
    data.order = Repeating()
    loader = data.train_dataloader()
    for epoch in range(2):
        for x, y, indices in loader:
            assert indices.tolist() == [40 - epoch, 7 - epoch, 7 - epoch] * 2
            assert torch.equal(y, data.training_labels[indices])
            assert len(x.flatten(1).unique(dim=0)) == 6  # each with a crop of its own


def test_quasi_random_order_goes_page_by_page(tmp_path: Path) -> None:
    root = photographs.converted(tmp_path)
    data = module(root, quasi_random=True)
    order = data.default_order()
    assert isinstance(order, QuasiRandomOrder)
    assert isinstance(data.splits.train, BetonImages)
    assert torch.equal(data.splits.train.pages, torch.ones(45, dtype=torch.int64))
    seen = torch.cat([indices for _, _, indices in data.train_dataloader()])
    assert torch.equal(seen, order.indices(0)[:42])
    with pytest.raises(NASError, match=r"^balanced and quasi_random are both true"):
        module(root, quasi_random=True, balanced=True)


def test_a_module_in_use_is_copied_without_its_file(root: Path) -> None:
    data = module(root)
    expected = list(data.train_dataloader())
    content = pickle.dumps(data)
    assert len(content) < 100_000
    other = pickle.loads(content)
    other.load_state_dict({"epoch": 0, "position": 0})
    assert same(list(other.train_dataloader()), expected)


def test_a_forked_process_decodes_too(root: Path) -> None:
    code = (
        "import os\n"
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "list(data.train_dataloader())\n"
        "child = os.fork()\n"
        "print(len(list(data.train_dataloader())), flush=True)\n"
        "if child: os.waitpid(child, 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "7\n7\n"


def test_where_nothing_can_be_written(root: Path, tmp_path: Path) -> None:
    code = (
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "data.prepare_data()\n"
        "print(len(list(data.train_dataloader())))"
    )
    nowhere = str(tmp_path / "file" / "cache")
    (tmp_path / "file").touch()
    environment = os.environ | {
        "XDG_CACHE_HOME": nowhere,
        # As if neither the folder of the package nor the user's could be written.
        "NUMBA_CACHE_DIR": nowhere,
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout == "7\n"


def test_torch_keeps_its_threads(root: Path) -> None:
    code = (
        "import torch; torch.set_num_threads(3)\n"
        "from lightning_nas.data import FFCVDataModule\n"
        f"data = FFCVDataModule({str(root)!r}, image_size=8, batch_size=6, workers=2)\n"
        "list(data.train_dataloader())\n"
        "import sys; assert 'ffcv' in sys.modules\n"
        "print(torch.get_num_threads())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "3\n"


# ------------------------------------------------------------------------------------------------ damage


@pytest.fixture
def broken(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "broken"))


def use(root: Path, **options: Any) -> None:
    data = module(root, **options)
    data.prepare_data()
    for split in data.splits:
        split.batch(torch.arange(len(split)))


def change(root: Path, **entries: Any) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest | entries))


def test_a_truncated_file(broken: Path) -> None:
    content = (broken / "train.beton").read_bytes()
    (broken / "train.beton").write_bytes(content[:-100])
    for verify in (True, False):
        with pytest.raises(
            NASError, match=r"train\.beton is damaged, .* it has [\d,]+ bytes, and should have"
        ):
            use(broken, verify=verify)


def test_a_changed_byte(broken: Path) -> None:
    content = bytearray((broken / "test.beton").read_bytes())
    content[-1000] ^= 1
    (broken / "test.beton").write_bytes(content)
    with pytest.raises(
        NASError,
        match=r"test\.beton is damaged, .*: its checksum differs; remove it and convert the images again$",
    ):
        use(broken)


def test_a_file_is_verified_once(broken: Path) -> None:
    use(broken)
    path = broken / "train.beton"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[5_000_000] ^= 1  # between the header and the first page
    path.write_bytes(content)
    with pytest.raises(NASError, match="its checksum differs"):
        use(broken)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    use(broken)  # as if it had not been touched


def test_a_compressed_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    root = photographs.converted(tmp_path, mode="jpg")
    beton = module(root).splits.test._beton  # type: ignore[attr-defined]
    content = bytearray((root / "test.beton").read_bytes())
    content[int(beton.pointers[5]) : int(beton.pointers[5]) + 4] = b"none"
    (root / "test.beton").write_bytes(content)
    with pytest.raises(NASError, match=r"test\.beton is damaged, .* image number 5 cannot be decoded"):
        use(root, verify=False)


def test_an_image_beyond_the_file(tmp_path: Path) -> None:
    root = photographs.converted(tmp_path, mode="jpg")
    beton = module(root).splits.test._beton  # type: ignore[attr-defined]
    pointer = int(beton.pointers[5]).to_bytes(8, "little")
    region = pointer + int(beton.sizes[5]).to_bytes(8, "little")
    content = (root / "test.beton").read_bytes()
    assert (content.count(pointer), content.count(region)) == (2, 1)
    # Their sum is negative in 64 bits.
    wrong, size = ((2**63 - distance).to_bytes(8, "little") for distance in (1000, 10))
    (root / "test.beton").write_bytes(content.replace(region, wrong + size).replace(pointer, wrong))
    with pytest.raises(NASError, match=r"test\.beton is damaged, .*: it has images of impossible sizes"):
        use(root, verify=False)


def test_pixels_of_another_number(broken: Path) -> None:
    beton = module(broken).splits.test._beton  # type: ignore[attr-defined]
    pointer, size = int(beton.pointers[5]).to_bytes(8, "little"), int(beton.sizes[5])
    content = (broken / "test.beton").read_bytes()
    shorter = content.replace(
        pointer + size.to_bytes(8, "little"), pointer + (size - 1).to_bytes(8, "little")
    )
    assert shorter != content
    (broken / "test.beton").write_bytes(shorter)
    with pytest.raises(NASError, match=r"test\.beton is damaged, .*: it has images of impossible sizes"):
        use(broken, verify=False)


def test_an_image_that_begins_within_another(broken: Path) -> None:
    pointer = int(module(broken).splits.test._beton.pointers[5])  # type: ignore[attr-defined]
    content = (broken / "test.beton").read_bytes()
    moved = content.replace(pointer.to_bytes(8, "little"), (pointer + 1).to_bytes(8, "little"), 1)
    (broken / "test.beton").write_bytes(moved)
    with pytest.raises(NASError, match=r"test\.beton is damaged, .*: .*images without a region of their own"):
        use(broken, verify=False)


@pytest.mark.parametrize(
    "entries", [{"mean": [1.0], "std": [1.0]}, {"std": [1.0, 0.0, 1.0]}, {"mean": ["a", "b"]}]
)
def test_statistics_of_other_than_three_channels(broken: Path, entries: dict[str, Any]) -> None:
    change(broken, **entries)
    with pytest.raises(
        NASError, match=r"manifest\.json is not a manifest .*: mean and std must be three numbers"
    ):
        use(broken)


@pytest.mark.parametrize(
    "part", ["version", "fields", "page_size", "samples", "metadata", "table", "table_at"]
)
def test_a_damaged_header(broken: Path, part: str) -> None:
    content = bytearray((broken / "test.beton").read_bytes())
    where = {
        "version": slice(0, 2),
        "fields": slice(2, 4),
        "page_size": slice(4, 8),
        "samples": slice(8, 16),
        "table_at": slice(16, 24),
        "metadata": slice(2140, 2240),
        "table": slice(-600, -1),
    }
    value = b"\0" if part == "page_size" else b"\x07"
    content[where[part]] = value * len(content[where[part]])
    (broken / "test.beton").write_bytes(content)
    with pytest.raises(NASError, match=r"test\.beton is damaged, or another file than manifest\.json says: "):
        use(broken, verify=False)


def test_files_of_other_classes(broken: Path) -> None:
    change(broken, classes=["bird", "cat"])
    with pytest.raises(NASError, match=r"it has labels from 0 to 2, and there are 2 classes"):
        use(broken)


def test_a_missing_file_or_manifest(broken: Path) -> None:
    (broken / "test.beton").unlink()
    with pytest.raises(NASError, match=r"test\.beton is missing, which manifest\.json beside it names"):
        use(broken)
    (broken / "manifest.json").write_text("{}")
    with pytest.raises(NASError, match=r"manifest\.json is not a manifest of converted images"):
        use(broken)
    (broken / "manifest.json").unlink()
    with pytest.raises(
        NASError, match=r"^root is .*broken, but must be a folder that `lightning-nas convert"
    ):
        use(broken)


def test_the_split_is_that_of_the_manifest_unless_another_is_asked(broken: Path) -> None:
    change(broken, split_seed=4)
    labels = torch.arange(3).repeat_interleave(20)
    for options, seed, num_val in (({}, 4, 15), ({"split_seed": 5, "val_fraction": 0.5}, 5, 30)):
        data = module(broken, **options)
        assert isinstance(data.splits.val, BetonImages)
        assert data.splits.val._chosen.tolist() == stratified_order(labels, seed)[:num_val].tolist()


def test_an_unfinished_conversion(broken: Path) -> None:
    manifest = module(broken).manifest
    dataclasses.replace(manifest, files={"train": manifest.files["train"]}).write(broken)
    with pytest.raises(
        NASError, match=r"the conversion is not finished \(test is missing\): the same command continues"
    ):
        use(broken)


def test_without_ffcv(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ffcv.reader", None)
    with pytest.raises(
        NASError, match=r"^FFCV cannot be imported \(.*\): it is built with the packages g\+\+"
    ):
        use(root)
