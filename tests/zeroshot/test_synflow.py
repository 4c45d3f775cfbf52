"""Scores that span fifty orders of magnitude."""

import math

import pytest
import torch

from lightning_nas.spaces import NASBench201
from lightning_nas.spaces.nasbench201 import CONV_3X3, EDGES
from lightning_nas.zeroshot import SynFlow


@pytest.mark.slow
def test_it_is_finite_for_a_fifth_of_all_functional_classes() -> None:
    space = NASBench201(channels=1, cells=1, in_channels=1, image_size=4)
    x, y = torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.long)
    classes = {space.functional_key(path): path for path in space}
    torch.manual_seed(0)
    assert len(classes) == 9445
    for path in list(classes.values())[::5]:
        assert math.isfinite(SynFlow()(space.build_standalone(path), x, y)), path


def test_it_is_finite_for_the_largest_network_of_published_size() -> None:
    space = NASBench201()
    torch.manual_seed(0)
    network = space.build_standalone((CONV_3X3,) * len(EDGES))
    score = SynFlow()(network, torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert math.isfinite(score)
    assert score > 1e30
