import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_nas.data.augment import channel_statistics, crop, draw_flips, draw_offsets, flip, normalise


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
    assert torch.equal(flip(images, flips), slow)


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
