from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from lightning_nas.data.augment import (
    Augmentation,
    centre_boxes,
    channel_statistics,
    crop,
    crop_boxes,
    cut_out,
    draw_crops,
    draw_flips,
    draw_holes,
    draw_offsets,
    flip,
    normalise,
)
from lightning_nas.errors import NASError


def pixels(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(1, 256, shape, dtype=np.uint8))


def slow_crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    num, channels, height, width = images.shape
    result = torch.zeros_like(images)
    for i in range(num):
        for row in range(height):
            for column in range(width):
                y = row + int(offsets[i, 0]) - padding
                x = column + int(offsets[i, 1]) - padding
                if 0 <= y < height and 0 <= x < width:
                    result[i, :, row, column] = images[i, :, y, x]
    assert result.shape == (num, channels, height, width)
    return result


@pytest.mark.parametrize("padding", [1, 2, 4])
def test_crop_equals_one_pixel_at_a_time(padding: int) -> None:
    images = pixels(30, 3, 5, 6)
    offsets = draw_offsets(30, padding, np.random.default_rng(0))
    assert torch.equal(crop(images, offsets, padding), slow_crop(images, offsets, padding))


def test_crop_in_the_middle_changes_nothing() -> None:
    images = pixels(4, 1, 8, 8)
    assert torch.equal(crop(images, torch.full((4, 2), 2), 2), images)


def test_flip_equals_one_image_at_a_time() -> None:
    images, flips = pixels(20, 3, 5, 6), draw_flips(20, np.random.default_rng(0))
    slow = torch.stack(
        [
            torch.from_numpy(np.fliplr(image.permute(1, 2, 0)).copy()).permute(2, 0, 1) if mirrored else image
            for image, mirrored in zip(images, flips, strict=True)
        ]
    )
    assert torch.equal(flip(images.clone(), flips), slow)
    assert torch.equal(flip(images.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), flips), slow)


def test_offsets_are_uniform_over_all_places() -> None:
    offsets = draw_offsets(90_000, 1, np.random.default_rng(0))
    counts = torch.bincount(offsets[:, 0] * 3 + offsets[:, 1])
    assert counts.shape == (9,)
    # Binomial with mean 10,000 and standard deviation 94.
    assert ((counts - 10_000).abs() < 5 * 94).all()


def test_half_of_the_images_are_flipped() -> None:
    flips = draw_flips(10_000, np.random.default_rng(0))
    assert flips.dtype == torch.bool
    assert abs(int(flips.sum()) - 5_000) < 5 * 50


def test_normalise_equals_float64_arithmetic() -> None:
    images, mean, std = pixels(6, 3, 4, 4), torch.tensor([10.0, 20, 30]), torch.tensor([3.0, 5, 7])
    slow = (images.double() - mean.double().view(1, 3, 1, 1)) / std.double().view(1, 3, 1, 1)
    result = normalise(images, mean, std)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), slow, rtol=1e-6, atol=1e-6)


def test_normalise_leaves_its_input_alone() -> None:
    images = pixels(2, 1, 2, 2)
    before = images.clone()
    normalise(images, torch.ones(1), torch.ones(1))
    assert torch.equal(images, before)


def test_statistics_equal_float64_arithmetic() -> None:
    images = pixels(50, 3, 7, 7) // torch.tensor([1, 2, 4], dtype=torch.uint8).view(3, 1, 1)
    mean, std = channel_statistics(images)
    torch.testing.assert_close(mean, images.double().mean((0, 2, 3)).float())
    torch.testing.assert_close(std, images.double().std((0, 2, 3), correction=0).float())


def test_a_channel_without_contrast_is_not_divided_by_zero() -> None:
    _, std = channel_statistics(torch.full((5, 1, 2, 2), 7, dtype=torch.uint8))
    assert std.tolist() == [1.0]


def drawn_boxes(number: int, height: int, width: int, area: tuple[float, float]) -> np.ndarray:
    crops = draw_crops(number, np.random.default_rng(0))
    return crop_boxes(crops, torch.full((number,), height), torch.full((number,), width), area)


@pytest.mark.parametrize(("height", "width"), [(30, 40), (200, 50), (7, 7)])
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.5, 0.6)])
def test_boxes_are_distributed_as_those_of_torchvision(
    height: int, width: int, area: tuple[float, float]
) -> None:
    number = 20_000
    boxes = drawn_boxes(number, height, width, area)
    image = torch.empty(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomResizedCrop.get_params(image, list(area), [3 / 4, 4 / 3]) for _ in range(number)]
    for ours, theirs in zip(boxes.T, np.array(drawn).T, strict=True):
        table = np.array([np.bincount(column, minlength=201) for column in (ours, theirs)])
        table = table[:, table.sum(axis=0) > 20]
        assert table.sum() > 1.9 * number
        assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > 1e-4
    tops, lefts, heights, widths = boxes.T
    assert boxes.min() >= 0
    assert (tops + heights).max() <= height
    assert (lefts + widths).max() <= width


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_crops_of_tiny_images_have_pixels(height: int, width: int) -> None:
    tops, lefts, heights, widths = drawn_boxes(1000, height, width, (0.08, 1.0)).T
    assert min(tops.min(), lefts.min()) >= 0
    assert min(heights.min(), widths.min()) >= 1
    assert (tops + heights).max() <= height
    assert (lefts + widths).max() <= width


def test_the_first_attempt_that_fits_counts_and_else_the_centre() -> None:
    crops = torch.zeros(2, 3, 4)
    # 100 % of the area in the shape 3:4 is higher than an image of 10 x 20; half of it in the shape 1 is not.
    crops[:, :, 0] = torch.tensor([1.0, 0.5, 0.1])
    crops[:, 1, 1] = 0.5
    boxes = crop_boxes(crops, torch.tensor([10, 10]), torch.tensor([20, 20]), (0.0, 1.0))
    assert boxes.tolist() == [[0, 0, 10, 10]] * 2
    # Nothing of at least 90 % fits into a stripe.
    crops[:] = 1 - 1e-9
    [box] = crop_boxes(crops[:1], torch.tensor([10]), torch.tensor([100]), (0.9, 1.0))
    assert box.tolist() == [0, 43, 10, 13]


def test_the_centre_is_a_square() -> None:
    boxes = centre_boxes(torch.tensor([100, 50, 1]), torch.tensor([80, 75, 3]), 0.875)
    assert boxes.tolist() == [[15, 5, 70, 70], [3, 16, 43, 43], [0, 1, 1, 1]]


def test_cutout_equals_one_image_at_a_time() -> None:
    images, holes = torch.rand(40, 2, 7, 7) + 1, draw_holes(40, 7, np.random.default_rng(2))
    expected = images.clone()
    for image, (row, column) in zip(expected, holes.tolist(), strict=True):
        image[:, max(0, row - 2) : row + 2, max(0, column - 2) : column + 2] = 0
    assert torch.equal(cut_out(images, holes, 4), expected)
    assert set(holes.flatten().tolist()) == set(range(7))


def test_draws_are_shared_row_by_row() -> None:
    augmentation = Augmentation(area=(0.1, 1), padding=2, flip=True, cutout=3)
    draws = augmentation.draw(10, 8, np.random.default_rng(0))
    assert all(drawn is not None and len(drawn) == 10 for drawn in draws)
    for drawn, part in zip(draws, draws.of(slice(1, None, 3)), strict=True):
        assert drawn is not None
        assert part is not None
        assert torch.equal(part, drawn[1::3])
    assert Augmentation().draw(10, 8, np.random.default_rng(0)) == (None,) * 4


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"area": (0.5, 0.1)},
            r"^area is \[0\.5, 0\.1\], but must be two parts of an image, the smaller first",
        ),
        ({"area": (0, 1)}, r"^area is \[0, 1\], but"),
        ({"area": (0.5, 1.1)}, r"^area is "),
        ({"padding": -1}, r"^crop_padding is -1: valid are numbers from 0$"),
        ({"cutout": -2}, r"^cutout is -2: valid are numbers from 0$"),
    ],
)
def test_numbers_out_of_range(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NASError, match=sentence):
        Augmentation(**wrong)
