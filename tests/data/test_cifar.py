import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from published_data import (
    CIFAR_TRAIN,
    cifar_images,
    md5,
    python2_pickle,
    write_binary_version,
    write_python_version,
)
from short_runs import SMALL, trainer
from torchvision import datasets

from lightning_nas.callbacks import Ranking
from lightning_nas.data import RawSplits
from lightning_nas.data.cifar import CIFARDataModule
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.ranking.converters.nasbench201 import TEST_SPLITS
from lightning_nas.samplers import UniformSampler

CLASSES: tuple[Literal[10, 100], ...] = (10, 100)
Write = Callable[[Path, int, pytest.MonkeyPatch], Path]
VERSIONS = [write_python_version, write_binary_version]


def module(root: Path, **options: Any) -> CIFARDataModule:
    defaults: dict[str, Any] = {"val_fraction": 0.25, "batch_size": 30, "eval_batch_size": 10, "seed": 0}
    return CIFARDataModule(root=root, **{**defaults, **options})


def rows(images: torch.Tensor, labels: torch.Tensor) -> list[bytes]:
    """An image and its label, in a form that can be sorted and counted."""
    return [
        bytes([label]) + pixels.tobytes()
        for pixels, label in zip(images.numpy(), labels.tolist(), strict=True)
    ]


def same(first: RawSplits, second: RawSplits) -> bool:
    return all(
        torch.equal(*pair) for a, b in zip(first, second, strict=True) for pair in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("write", VERSIONS)
def test_splits_hold_the_files_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, classes: Literal[10, 100]
) -> None:
    write(tmp_path, classes, monkeypatch)
    train, val, test = module(tmp_path, classes=classes).read_splits()
    for images, labels in (train, val, test):
        assert (images.dtype, labels.dtype, images.shape[1:]) == (torch.uint8, torch.int64, (3, 32, 32))
    published = [tuple(map(torch.from_numpy, split)) for split in cifar_images(classes)]
    # Nothing twice and nothing left out.
    assert sorted(rows(*train) + rows(*val)) == sorted(rows(*published[0]))
    assert rows(*test) == rows(*published[1])
    per_class = CIFAR_TRAIN // classes
    counts = val[1].bincount(minlength=classes)
    assert counts.sum() == CIFAR_TRAIN // 4
    assert (counts - per_class / 4).abs().max() < 1


@pytest.mark.parametrize("classes", CLASSES)
def test_both_versions_give_the_same_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: Literal[10, 100]
) -> None:
    write_python_version(tmp_path / "python", classes, monkeypatch)
    write_binary_version(tmp_path / "binary", classes, monkeypatch)
    python, binary = (module(tmp_path / name, classes=classes).read_splits() for name in ("python", "binary"))
    assert same(python, binary)


def test_the_split_has_its_own_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_binary_version(tmp_path, 10, monkeypatch)
    first, other_seed, other_split = (
        module(tmp_path, seed=seed, split_seed=split_seed).read_splits()
        for seed, split_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert same(first, other_seed)
    assert not same(first, other_split)


def test_facts_are_known_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for classes in CLASSES:
        write_python_version(tmp_path, classes, monkeypatch)
        data = module(tmp_path, classes=classes)
        facts = data.name, data.num_classes, data.in_channels, data.image_size, data.num_val
        assert facts == (f"cifar{classes}", classes, 3, 32, 50)
        assert data.name in TEST_SPLITS  # a column of published tables
        assert "splits" not in vars(data)


def test_published_numbers_are_the_default(tmp_path: Path) -> None:
    for name in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ):
        (tmp_path / "cifar-10-batches-py").mkdir(exist_ok=True)
        (tmp_path / "cifar-10-batches-py" / name).touch()
    data = CIFARDataModule(root=tmp_path)
    assert (data.num_val, data.batch_size, data.eval_batch_size) == (5000, 128, 500)
    augmentation = data.augmentation
    assert (augmentation.padding, augmentation.flip, augmentation.cutout) == (4, True, 0)
    assert CIFARDataModule(root=tmp_path, val_fraction=0.5).num_val == 25000


def test_a_supernet_trains_and_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_python_version(tmp_path, 10, monkeypatch)
    data = module(tmp_path, val_fraction=0.5)
    supernet = SupernetModule(SMALL, in_channels=3, image_size=32)
    ranking = Ranking()
    run = trainer(tmp_path / "run", UniformSampler(), ranking, max_epochs=1)
    run.fit(supernet, datamodule=data)
    assert run.global_step == 3
    run.validate(supernet, datamodule=data, verbose=False)
    assert (tmp_path / "run" / "ranking.csv").exists()


# ------------------------------------------------------------------------------------------------ missing or wrong


def test_missing_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        rf"^root is {tmp_path}, but must be a folder with cifar-10-batches-py or cifar-10-batches-bin of https://\S+; "
        r"download: true gets it\.$"
    )
    with pytest.raises(NASError, match=expected):
        module(tmp_path)
    with pytest.raises(NASError, match="with cifar-100-python or cifar-100-binary of"):
        module(tmp_path, classes=100)
    write_binary_version(tmp_path, 10, monkeypatch)
    with pytest.raises(NASError, match="cifar-100-python or"):
        module(tmp_path, classes=100)


@pytest.mark.parametrize("write", VERSIONS)
def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    folder = write(tmp_path, 10, monkeypatch)
    removed = next(folder.glob("data_batch_3*"))
    removed.unlink()
    with pytest.raises(
        NASError, match=rf"^root must hold all files of {folder.name}, but there is no {removed}\.$"
    ):
        module(tmp_path)


def test_a_whole_version_is_read_beside_an_incomplete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_python_version(tmp_path, 10, monkeypatch) / "test_batch").unlink()
    write_binary_version(tmp_path, 10, monkeypatch)
    assert len(module(tmp_path).read_splits().test[1]) == 100


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content[:-1] + b"x"])
def test_other_pickles_than_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    file = write_python_version(tmp_path, 10, monkeypatch) / "data_batch_2"
    published = md5(file)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(
        NASError,
        match=rf"^{file} is not the published file, whose MD5 checksum is {published}: remove it and get it",
    ):
        module(tmp_path).read_splits()


def test_binary_files_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_binary_version(tmp_path, 100, monkeypatch)
    whole = (folder / "test.bin").read_bytes()
    for content in (whole[:-1], whole[: -(2 + 3072)], whole + b"x"):
        (folder / "test.bin").write_bytes(content)
        with pytest.raises(
            NASError, match=rf"test\.bin has {len(content):,} bytes, but the published file 307,400:"
        ):
            module(tmp_path, classes=100).read_splits()


def test_binary_labels_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_binary_version(tmp_path, 10, monkeypatch) / "data_batch_1.bin"
    content = bytearray(file.read_bytes())
    content[3 * 3073] = 10
    file.write_bytes(content)
    with pytest.raises(NASError, match=r"data_batch_1\.bin has the label 10, but labels must be 0 to 9\.$"):
        module(tmp_path).read_splits()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((40, 3072), np.uint8)}, r"must hold a dictionary with 'labels', but has none\.$"),
        ({"labels": [0] * 40}, r"must hold a dictionary with 'data', but has none\.$"),
        ([], r"must hold a dictionary with 'data'"),
        (
            {"data": np.zeros((40, 3071), np.uint8), "labels": [0] * 40},
            r"'data' of .*test_batch is uint8 of shape \(40, 3071\), but must be uint8, N x 3072\.$",
        ),
        ({"data": np.zeros((40, 3072)), "labels": [0] * 40}, r"'data' of .* is float64 of shape"),
        ({"data": "pixels", "labels": [0]}, r"'data' of .* is <U6 of shape \(\)"),
        (
            {"data": np.zeros((40, 3072), np.uint8), "labels": [0] * 39},
            r"'labels' of .* must be 40 whole numbers",
        ),
        ({"data": np.zeros((40, 3072), np.uint8), "labels": [0.5] * 40}, r"must be 40 whole numbers"),
        (
            {"data": np.zeros((1, 3072), np.uint8), "labels": [-1]},
            r"has the label -1, but labels must be 0 to 9\.$",
        ),
    ],
)
def test_pickles_of_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, message: str
) -> None:
    file = write_python_version(tmp_path, 10, monkeypatch) / "test_batch"
    file.write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(file)]])
    with pytest.raises(NASError, match=message):
        module(tmp_path).read_splits()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 20}, r"^classes is 20, but must be 10 or 100\.$"),
        ({"val_fraction": 1.0}, r"^val_fraction is 1\.0, but must be between 0 and 1, both excluded\.$"),
        ({"val_fraction": 0.001}, r"^val_fraction is 0\.001, which leaves no image of 200 for validation\.$"),
        ({"batch_size": 151}, r"^batch_size is 151, but must be at most 150, all training images\.$"),
        ({"eval_batch_size": 0}, r"^eval_batch_size is 0: valid are numbers from 1$"),
        ({"crop_padding": -1}, r"^crop_padding is -1: valid are numbers from 0$"),
        ({"cutout": -1}, r"^cutout is -1: valid are numbers from 0$"),
        ({"split_seed": -1}, r"^split_seed is -1: valid are numbers from 0$"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    write_binary_version(tmp_path, 10, monkeypatch)
    with pytest.raises(NASError, match=message):
        module(tmp_path, **options)


# ------------------------------------------------------------------------------------------------------- download


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive of a small CIFAR-10 that was downloaded but not unpacked: nothing more comes from the network."""
    folder = write_python_version(tmp_path / "server", 10, monkeypatch)
    file = tmp_path / "datasets" / "cifar-10-python.tar.gz"
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as content:
        content.add(folder, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "url", "file:///nowhere/cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(file))
    return file


def test_a_missing_version_is_fetched_once(tmp_path: Path, archive: Path) -> None:
    root = archive.parent
    data = module(root, download=True)
    assert list(root.iterdir()) == [archive]
    data.prepare_data()
    assert same(data.read_splits(), module(tmp_path / "server").read_splits())
    archive.unlink()
    data.prepare_data()
    assert same(data.read_splits(), module(root, download=True).read_splits())


def test_an_incomplete_version_is_fetched_again(archive: Path) -> None:
    module(archive.parent, download=True).prepare_data()
    file = archive.parent / "cifar-10-batches-py" / "data_batch_4"
    file.unlink()
    module(archive.parent, download=True).read_splits()
    assert file.exists()


def test_a_download_that_fails(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(
        NASError,
        match=rf"^download is true, but file:///nowhere/\S+ cannot be downloaded into {archive.parent}: .*No such",
    ):
        module(archive.parent, download=True).read_splits()


def test_nothing_is_downloaded_unasked(archive: Path) -> None:
    with pytest.raises(NASError, match="download: true gets it"):
        module(archive.parent)
    assert list(archive.parent.iterdir()) == [archive]


def test_the_published_form_is_that_of_python_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_python_version(tmp_path, 10, monkeypatch) / "test_batch"
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(file.read_bytes())
    assert python2_pickle({"a": [1]}) == b"\x80\x02}(T\x01\x00\x00\x00a](J\x01\x00\x00\x00eu."
