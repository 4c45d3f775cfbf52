import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lightning_nas.data.digits import DigitsDataModule
from lightning_nas.errors import NASError


def test_splits_are_disjoint_and_hold_every_digit_exactly() -> None:
    splits = DigitsDataModule().read_splits()
    assert [len(labels) for _, labels in splits] == [300, 500, 997]
    images = torch.cat([images for images, _ in splits])
    labels = torch.cat([labels for _, labels in splits])
    digits = load_digits()
    expected = sorted(
        (label, *pixels.ravel()) for pixels, label in zip(digits.images * 15, digits.target, strict=True)
    )
    found = sorted(
        (int(label), *image.flatten().tolist()) for image, label in zip(images, labels, strict=True)
    )
    assert found == expected
    assert images.dtype == torch.uint8


def test_splits_are_stratified() -> None:
    overall = np.bincount(load_digits().target) / 1797
    for _, labels in DigitsDataModule().read_splits():
        assert np.abs(np.bincount(labels) - overall * len(labels)).max() <= 2


def test_split_depends_on_its_own_seed_only() -> None:
    first, other_seed, other_split = (
        DigitsDataModule(seed=seed, split_seed=split_seed).read_splits().val[0]
        for seed, split_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, other_seed)
    assert not torch.equal(first, other_split)


def test_facts_are_known_before_reading() -> None:
    data = DigitsDataModule(val_size=100)
    facts = data.name, data.num_classes, data.in_channels, data.image_size, data.num_val
    assert facts == ("digits", 10, 1, 8, 100)
    assert "splits" not in vars(data)


def test_training_images_are_normalised_by_their_own_statistics() -> None:
    data = DigitsDataModule(crop_padding=0, batch_size=300)
    ((x, *_),) = data.train_dataloader()
    torch.testing.assert_close(x.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(correction=0), torch.tensor(1.0), atol=1e-5, rtol=0)


def test_augmentation_reaches_the_loader() -> None:
    def epoch(crop_padding: int, flip: bool) -> torch.Tensor:
        data = DigitsDataModule(batch_size=300, seed=0, crop_padding=crop_padding, flip=flip)
        ((x, *_),) = data.train_dataloader()
        return x

    plain, cropped, flipped = epoch(0, False), epoch(1, False), epoch(0, True)
    assert not torch.equal(plain, cropped)
    mirrored = [
        torch.equal(x, y.flip(-1)) and not torch.equal(x, y) for x, y in zip(plain, flipped, strict=True)
    ]
    assert 100 < sum(mirrored) < 200


def test_validation_images_are_those_of_the_validation_loader() -> None:
    data = DigitsDataModule(eval_batch_size=64)
    batches = list(data.val_dataloader())
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(y) == data.num_val
    chosen_x, chosen_y = data.validation_images([499, 3, 3])
    assert torch.equal(chosen_x, x[[499, 3, 3]])
    assert torch.equal(chosen_y, y[[499, 3, 3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 0}, r"^train_size is 0: valid are numbers from 1$"),
        ({"val_size": -1}, r"^val_size is -1: valid are numbers from 1$"),
        ({"train_size": 1297}, r"^train_size \+ val_size is 1297 \+ 500, but must be at most 1796 "),
        ({"batch_size": 0}, r"^batch_size is 0: valid are numbers from 1$"),
        ({"eval_batch_size": 0}, r"^eval_batch_size is 0: valid are numbers from 1$"),
        ({"batch_size": 301}, r"^batch_size is 301, but must be at most train_size, 300\.$"),
        ({"crop_padding": -1}, r"^crop_padding is -1: valid are numbers from 0$"),
        ({"seed": -1}, r"^seed is -1: valid are numbers from 0$"),
        ({"split_seed": -1}, r"^split_seed is -1: valid are numbers from 0$"),
    ],
)
def test_wrong_arguments(options: dict[str, int], message: str) -> None:
    with pytest.raises(NASError, match=message):
        DigitsDataModule(**options)  # type: ignore[arg-type]


def test_one_test_image_is_enough() -> None:
    assert len(DigitsDataModule(train_size=1296).read_splits().test[1]) == 1
