"""The manifest is heeded; damaged, missing and other files are told in one sentence, and never read past their end."""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import photographs
import pytest
import torch
from ffcv_data import module, use

from lightning_nas.data.base import stratified_order
from lightning_nas.data.ffcv import BetonImages
from lightning_nas.errors import NASError


@pytest.fixture
def broken(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "broken"))


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
