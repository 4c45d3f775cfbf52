from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.spaces import Pooling, SearchSpace
from lightning_nas.spaces.base import Path

TOY = Toy(layers=4)


@given(st.integers(0, 80))
def test_index_and_getitem_are_inverse(number: int) -> None:
    assert TOY.index(TOY[number]) == number


def test_paths_come_in_product_order() -> None:
    assert list(Toy(layers=2)) == [(i, j) for i in range(3) for j in range(3)]
    assert TOY[80] == (2, 2, 2, 2)
    with pytest.raises(IndexError):
        TOY[81]


def test_size_beyond_the_reach_of_len() -> None:
    huge = Toy(layers=60)
    assert huge.size == 3**60
    assert huge.index(huge[3**60 - 1]) == 3**60 - 1


@pytest.mark.parametrize("path", [(0, 0, 0), (0, 0, 0, 3), (-1, 0, 0, 0), ()])
def test_invalid_paths(path: Path) -> None:
    assert not TOY.is_valid(path)


def test_samples_are_uniform_over_the_space() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([Toy(layers=2).index(Toy(layers=2).sample(rng)) for _ in range(9000)], minlength=9)
    # Chi-square with 8 degrees of freedom stays below 26.1 in 999 of 1000 draws.
    assert ((counts - 1000) ** 2 / 1000).sum() < 26.1


@pytest.mark.parametrize("space", [Pooling(channels=(4, 4, 8), image_size=8), Toy(layers=2, width=3)])
def test_description_is_plain_and_rebuilds_the_space(space: SearchSpace) -> None:
    description = space.describe()
    torch.save(description, buffer := BytesIO())
    buffer.seek(0)
    assert SearchSpace.from_description(torch.load(buffer, weights_only=True)) == space


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("nowhere.Space", "cannot be imported"),
        ("lightning_nas.spaces.Nothing", "cannot be imported"),
        ("Pooling", "cannot be imported"),
        ("collections.OrderedDict", "not a search space"),
    ],
)
def test_a_description_of_something_else_is_refused(class_path: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        SearchSpace.from_description({"class_path": class_path, "init_args": {}})


def test_adapt_changes_only_what_is_given() -> None:
    space = Pooling(channels=(4, 8, 16)).adapt(num_classes=7, image_size=16)
    assert space == Pooling(channels=(4, 8, 16), num_classes=7, image_size=16, in_channels=3)
