from types import SimpleNamespace
from typing import Any

import pytest
import short_runs
import torch

from lightning_nas.density import probe_indices
from lightning_nas.errors import NASError
from lightning_nas.samplers.probe import draw_probe, image_data, probe_images
from lightning_nas.spaces import Pooling

POOLING = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))


def trainer(data: Any) -> Any:
    return SimpleNamespace(datamodule=data)


def test_the_images_are_those_of_the_validation_split() -> None:
    data = short_runs.digits()
    probe = draw_probe(trainer(data), short_runs.supernet_module(), 20, seed=3)
    assert probe == probe_indices(100, 20, seed=3)
    images, labels = probe_images(trainer(data), probe)
    expected, classes = data.validation_images(probe)
    assert torch.equal(images, expected)
    assert torch.equal(labels, classes)


def test_batch_norm_needs_enough_images() -> None:
    data = short_runs.digits()
    with pytest.raises(NASError, match=r"sampler\.probe_size is 15, but batch-norm .* numbers from 16"):
        draw_probe(trainer(data), short_runs.supernet_module(POOLING), 15, seed=0)
    assert len(draw_probe(trainer(data), short_runs.supernet_module(POOLING), 16, seed=0)) == 16
    # The toy space has none.
    assert len(draw_probe(trainer(data), short_runs.supernet_module(), 2, seed=0)) == 2


def test_the_option_is_named() -> None:
    with pytest.raises(NASError, match=r"Mine\.size is 101, but the validation split has 100 images"):
        draw_probe(trainer(short_runs.digits()), short_runs.supernet_module(), 101, seed=0, key="Mine.size")


def test_images_from_elsewhere_are_refused() -> None:
    with pytest.raises(NASError, match="pass an ImageDataModule to the Trainer"):
        image_data(trainer(None))
