"""Batches of converted images."""

import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
import torch
from ffcv_data import SIZE, images_of, module, normalised, resized
from PIL import Image
from torch import Tensor

from lightning_nas.commands import convert
from lightning_nas.data import EpochOrder, ImageNetDataModule, QuasiRandomOrder
from lightning_nas.data.augment import crop, crop_boxes, draw_crops, draw_flips, draw_offsets
from lightning_nas.data.base import stratified_order
from lightning_nas.data.ffcv import BetonImages
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator


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
