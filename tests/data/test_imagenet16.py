import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_data import imagenet16_images, write_imagenet16

from lightning_nas.data import batch_files, imagenet16
from lightning_nas.data.imagenet16 import ImageNet16DataModule
from lightning_nas.errors import NASError
from lightning_nas.ranking.converters.nasbench201 import TEST_SPLITS

KEPT = 4  # of six classes


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_imagenet16(tmp_path / "imagenet16", monkeypatch)


def module(root: Path, **options: Any) -> ImageNet16DataModule:
    defaults: dict[str, Any] = {
        "classes": KEPT,
        "val_fraction": 0.25,
        "batch_size": 30,
        "eval_batch_size": 10,
    }
    return ImageNet16DataModule(root, **{"seed": 0, **defaults, **options})


def rows(images: torch.Tensor, labels: torch.Tensor) -> list[bytes]:
    return [
        bytes([label]) + pixels.tobytes()
        for pixels, label in zip(images.numpy(), labels.tolist(), strict=True)
    ]


def test_splits_hold_the_images_of_the_first_classes(root: Path) -> None:
    train, val, test = module(root).read_splits()
    for images, labels in (train, val, test):
        assert (images.dtype, labels.dtype, images.shape[1:]) == (torch.uint8, torch.int64, (3, 16, 16))
    expected = []
    for content in imagenet16_images():
        kept = content.labels <= KEPT
        expected.append(
            rows(torch.from_numpy(content.pixels[kept]), torch.from_numpy(content.labels[kept] - 1))
        )
    assert sorted(rows(*train) + rows(*val)) == sorted(expected[0])
    assert rows(*test) == expected[1]
    assert train[1].bincount().tolist() == [30] * KEPT
    assert val[1].bincount().tolist() == [10] * KEPT


def test_the_split_has_its_own_seed(root: Path) -> None:
    first, other_seed, other_split = (
        module(root, seed=seed, split_seed=split_seed).read_splits().val[0]
        for seed, split_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, other_seed)
    assert not torch.equal(first, other_split)


def test_facts_are_known_before_images_are_kept(root: Path) -> None:
    data = module(root)
    facts = data.name, data.num_classes, data.in_channels, data.image_size, data.num_val
    assert facts == ("imagenet16_4", 4, 3, 16, 40)
    assert "splits" not in vars(data)
    assert module(root, classes=120).name in TEST_SPLITS  # a column of published tables


def test_augmentation_is_that_of_nasbench201(root: Path) -> None:
    data = ImageNet16DataModule(root, batch_size=8)
    assert (data.num_classes, data.num_val, data.augmentation.padding, data.augmentation.flip) == (
        120,
        24,
        2,
        True,
    )
    x, *_ = next(iter(data.train_dataloader()))
    assert x.shape == (8, 3, 16, 16)


def test_one_file_at_a_time_is_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def watched(*args: Any) -> Any:
        held.append(sum(alive() is not None for alive in pixels))
        rows = read(*args)
        pixels.append(weakref.ref(rows.pixels))
        return rows

    read, pixels = batch_files.read_pickled, list[Any]()
    monkeypatch.setattr(imagenet16, "read_pickled", watched)
    module(root).read_splits()
    assert len(held) == 21
    assert max(held) <= 1


def test_labels_may_be_arrays(root: Path) -> None:
    before = module(root).read_splits()
    file = root / "train_data_batch_7"
    content = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps({**content, "labels": np.array(content["labels"], np.int32)}))
    after = module(root, verify=False).read_splits()
    assert torch.equal(before.train[0], after.train[0])
    assert torch.equal(before.train[1], after.train[1])


@pytest.mark.parametrize("name", ["train_data_batch_1", "train_data_batch_10", "val_data"])
def test_missing_files(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(
        NASError,
        match=rf"^root must hold train_data_batch_1 to \S+ and val_data of the 16x16 .*, but there is no {root / name}\.$",
    ):
        module(root)


def test_other_files_than_the_published_ones(root: Path) -> None:
    file = root / "train_data_batch_3"
    content = pickle.loads(file.read_bytes())
    content["data"][0] += 1
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(
        NASError,
        match=rf"^{file} is not the published file, whose MD5 .*, or give verify: false if the authors' scripts",
    ):
        module(root)
    assert module(root, verify=False).num_val == 40


def test_truncated_files(root: Path) -> None:
    file = root / "train_data_batch_3"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NASError, match=r"train_data_batch_3 cannot be read: pickle data was truncated\.$"):
        module(root, verify=False)


@pytest.mark.parametrize("label", [0, 1001])
def test_labels_out_of_range(root: Path, label: int) -> None:
    file = root / "train_data_batch_3"
    content = pickle.loads(file.read_bytes())
    content["labels"][5] = label
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(NASError, match=rf"_3 has the label {label}, but labels must be 1 to 1000\.$"):
        module(root, verify=False)


def test_images_of_another_size(root: Path) -> None:
    content = {"data": np.zeros((4, 3072), np.uint8), "labels": [1, 2, 3, 4]}
    (root / "train_data_batch_1").write_bytes(pickle.dumps(content))
    with pytest.raises(NASError, match=r"is uint8 of shape \(4, 3072\), but must be uint8, N x 768\.$"):
        module(root, verify=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, r"^classes is 1, but must be 2 to 1000\.$"),
        ({"classes": 1001}, r"^classes is 1001, but must be 2 to 1000\.$"),
        ({"val_fraction": 0.0}, r"^val_fraction is 0\.0, but must be between 0 and 1, both excluded\.$"),
        ({"batch_size": 121}, r"^batch_size is 121, but must be at most 120, all training images\.$"),
        ({"crop_padding": -1}, r"^crop_padding is -1: valid are numbers from 0$"),
    ],
)
def test_wrong_arguments(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        module(root, **options)


def test_the_published_checksums_are_those_of_eleven_files() -> None:
    assert list(imagenet16.TRAIN_FILES) == [f"train_data_batch_{number}" for number in range(1, 11)]
    checksums = [*imagenet16.TRAIN_FILES.values(), *imagenet16.TEST_FILES.values()]
    assert len({checksum for checksum in checksums if len(bytes.fromhex(checksum)) == 16}) == 11
