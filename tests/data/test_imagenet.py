from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_nas.data import ImageNetDataModule
from lightning_nas.data.augment import crop_boxes, draw_crops, draw_flips
from lightning_nas.data.base import stratified_order
from lightning_nas.data.imagenet import MEAN, STD
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator

SIZE = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs.write(tmp_path_factory.mktemp("imagenet"))


def module(root: Path, **options: Any) -> ImageNetDataModule:
    defaults = {"image_size": SIZE, "val_fraction": 0.25, "batch_size": 6, "eval_batch_size": 5, "seed": 3}
    return ImageNetDataModule(root, **(defaults | options))


def resized(image: Image.Image, top: int, left: int, height: int, width: int) -> Tensor:
    part = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(np.float32) / 255
    return torch.from_numpy((pixels - MEAN) / STD).float().permute(2, 0, 1)


def files(root: Path, split: str) -> list[tuple[Path, int]]:
    return [
        (file, label)
        for label, name in enumerate(photographs.CLASSES)
        for file in sorted((root / split / name).iterdir())
    ]


def test_batches_equal_a_plain_recomputation(root: Path) -> None:
    data = module(root)
    everything = files(root, "train")
    labels = torch.tensor([label for _, label in everything])
    train = stratified_order(labels, 0)[15:]
    loader = data.train_dataloader()
    for epoch in range(2):
        order = generator(3, Stream.ORDER, epoch).permutation(45)
        for position, (x, y, indices) in enumerate(loader):
            chosen = order[6 * position : 6 * position + 6]
            rng = generator(3, Stream.AUGMENT, epoch, position)
            crops, flips = draw_crops(6, rng), draw_flips(6, rng)
            assert indices.tolist() == chosen.tolist()
            for row, index in enumerate(chosen):
                file, label = everything[train[index]]
                image = Image.open(file)
                [box] = crop_boxes(crops[row : row + 1], [image.height], [image.width], (0.08, 1.0))
                expected = resized(image, *box)
                torch.testing.assert_close(
                    x[row], expected.flip(-1) if flips[row] else expected, atol=1e-5, rtol=0
                )
                assert y[row] == label
    assert len(loader) == 7


def test_the_centre_is_evaluated(root: Path) -> None:
    data = module(root)
    [x, y] = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    for image, label, (file, expected_label) in zip(x, y, files(root, "val"), strict=True):
        photo = Image.open(file)
        side = int(0.875 * min(photo.size))
        expected = resized(photo, (photo.height - side) // 2, (photo.width - side) // 2, side, side)
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
        assert label == expected_label


def test_splits_are_disjoint_and_stratified(root: Path) -> None:
    data = module(root)
    assert [len(split) for split in data.splits] == [45, 15, 24]
    assert data.num_val == 15
    assert torch.bincount(data.splits.val.labels).tolist() == [5, 5, 5]
    images = torch.cat([split.batch(torch.arange(len(split)))[0] for split in data.splits])
    assert len(images.flatten(1).unique(dim=0)) == 84
    assert torch.equal(data.validation_images([2, 0])[0], data.splits.val.batch(torch.tensor([2, 0]))[0])


@pytest.mark.parametrize(
    "options", [{"workers": 1}, {"workers": 5}, {"batches_ahead": 0}, {"batches_ahead": 9}]
)
def test_threads_do_not_change_the_batches(root: Path, options: dict[str, Any]) -> None:
    expected = list(module(root, workers=2).train_dataloader())
    found = list(module(root, **options).train_dataloader())
    assert len(found) == 7
    for batch, same in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))


@pytest.mark.parametrize("position", [0, 3, 7, 10])
def test_resumes_at_the_next_batch(root: Path, position: int) -> None:
    uninterrupted = module(root).train_dataloader()
    expected = [batch for _ in range(2) for batch in uninterrupted]
    interrupted, resumed = module(root).train_dataloader(), module(root)
    list(islice((batch for _ in range(2) for batch in interrupted), position))
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed.train_dataloader())
    assert len(rest) == 7 - position % 7
    for batch, same in zip(expected[position:], rest, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))


def read_all(data: ImageNetDataModule) -> None:
    for split in data.splits:
        split.batch(torch.arange(len(split)))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = photographs.write(tmp_path / "broken")
    (root / "train" / "cat" / "07.png").write_bytes(b"no image")
    data = module(root)
    with pytest.raises(NASError, match=r"images only, but .*/train/cat/07\.png cannot be decoded"):
        read_all(data)


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    root = photographs.write(tmp_path / "grey")
    file = root / "val" / "bird" / "00.png"
    Image.open(file).convert("L").save(file)
    image = module(root).splits.test.batch(torch.tensor([0]))[0][0]
    values = image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(values[0], values[2], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centre": 0.0}, r"^centre is 0\.0, but must be a part of the shorter side"),
        ({"centre": 1.1}, r"^centre is 1\.1, but"),
        ({"workers": 0}, r"^workers is 0: valid are numbers from 1$"),
        ({"batches_ahead": -1}, r"^batches_ahead is -1: valid are numbers from 0$"),
        ({"image_size": 0}, r"^image_size is 0: valid are numbers from 1$"),
        ({"batch_size": 46}, r"^batch_size is 46, but must be at most 45, all training images\.$"),
        ({"val_fraction": 1.0}, r"^val_fraction is 1\.0, but must be between 0 and 1"),
        ({"area": (0.2, 0.1)}, r"^area is \[0\.2, 0\.1\], but must be two parts"),
    ],
)
def test_wrong_arguments(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        module(root, **options)
