import pytest
import torch

from lightning_nas.data import NoiseDataModule
from lightning_nas.errors import NASError


def test_pixels_are_normally_distributed_and_labels_uniform() -> None:
    data = NoiseDataModule(num_classes=4, in_channels=2, image_size=16, train_size=400, val_size=100)
    splits = data.read_splits()
    assert [images.shape for images, _ in splits] == [(size, 2, 16, 16) for size in (400, 100, 100)]
    images, labels = splits.train
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert images.double().mean() == pytest.approx(127.5, abs=0.5)
    assert images.double().std() == pytest.approx(40, abs=0.5)
    assert torch.bincount(labels).min() > 70
    assert not splits.val[0].equal(splits.test[0])


def test_images_depend_on_the_seed_of_the_split_alone() -> None:
    first, again, other = (
        NoiseDataModule(image_size=4, split_seed=split_seed, seed=seed).training_images(8)
        for split_seed, seed in ((0, 0), (0, 1), (1, 0))
    )
    assert first[0].equal(again[0])
    assert first[1].equal(again[1])
    assert not first[0].equal(other[0])


@pytest.mark.parametrize("name", ["num_classes", "in_channels", "image_size", "train_size", "val_size"])
def test_sizes_below_1_are_refused(name: str) -> None:
    with pytest.raises(NASError, match=f"{name} is 0: valid are numbers from 1"):
        NoiseDataModule(**{name: 0})  # type: ignore[arg-type]
