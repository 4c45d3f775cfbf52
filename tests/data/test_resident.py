import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_nas.data import DigitsDataModule, UniformOrder
from lightning_nas.data.augment import Augmentation, Draws, crop
from lightning_nas.data.resident import ImageSet
from lightning_nas.data.source import Request
from lightning_nas.errors import NASError

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 3, 6, 6), dtype=np.uint8))
LABELS = torch.arange(9)


def image_set(padding: int) -> ImageSet:
    return ImageSet(PIXELS, LABELS, torch.zeros(3), torch.ones(3), Augmentation(padding=padding))


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_crops_are_those_of_padded_images(padding: int) -> None:
    indices = torch.tensor([8, 0, 3, 3])
    offsets = torch.from_numpy(np.random.default_rng(1).integers(0, 2 * padding + 1, (4, 2)))
    draws = Draws(offsets=offsets if padding else None)
    [(request, images)] = image_set(padding).read([Request(indices, draws)])
    assert request.indices is indices
    assert torch.equal(images, crop(PIXELS[indices], offsets, padding).float())


def test_images_are_not_cropped_for_evaluation() -> None:
    images, labels = image_set(2).batch(torch.tensor([5, 1]))
    assert torch.equal(images, PIXELS[[5, 1]].float())
    assert labels.tolist() == [5, 1]


def test_batches_are_copies() -> None:
    images = image_set(0)
    [(_, first)] = images.read([Request(LABELS)])
    first.zero_()
    assert torch.equal(images.batch(LABELS)[0], PIXELS.float())


def test_cutout_sets_squares_to_the_mean_colour() -> None:
    plain = DigitsDataModule(batch_size=20, crop_padding=0, seed=3)
    cut = DigitsDataModule(batch_size=20, crop_padding=0, cutout=4, seed=3)
    for (x, *_), (y, *_) in zip(plain.train_dataloader(), cut.train_dataloader(), strict=True):
        changed = (x != y).any(dim=1)
        assert (y[changed[:, None]] == 0).all()
        rows, columns = changed.any(dim=2).sum(dim=1), changed.any(dim=1).sum(dim=1)
        assert rows.max() == columns.max() == 4
        assert (x == y).float().mean() > 0.7


def test_the_images_of_an_epoch_can_be_balanced() -> None:
    data = DigitsDataModule(train_size=301, batch_size=301, balanced=True, seed=0)
    [(_, labels, _)] = data.train_dataloader()
    assert sorted(labels.bincount().tolist()) == [30] * 9 + [31]
    assert sorted(data.training_labels.bincount().tolist()) != [30] * 9 + [31]


def test_the_images_of_an_epoch_are_chosen_once() -> None:
    data = DigitsDataModule(balanced=True, seed=0)
    data.order = UniformOrder(300, seed=0)
    with pytest.raises(
        NASError, match=r"^data_sampler chooses the images of an epoch, and so does data\.balanced"
    ):
        data.train_dataloader()


def test_batches_are_made_where_the_images_are() -> None:
    def batch(source: ImageSet) -> Tensor:
        return next(
            iter(source.read([Request(LABELS[:2], Draws(offsets=torch.zeros(2, 2, dtype=torch.int64)))]))
        )[1]

    assert batch(image_set(2).to(torch.device("meta"))).device.type == "meta"
    moved = image_set(2).to(torch.device("meta"))
    assert {moved.mean.device.type, moved.std.device.type} == {"meta"}
    assert image_set(2).to(torch.device("meta")).batch(LABELS[:2])[0].shape == (2, 3, 6, 6)
