"""Scores that span fifty orders of magnitude."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_nas.spaces import CellSupernet, NASBench201, Supernet
from lightning_nas.spaces.nasbench201_graph import CONV_3X3, EDGES
from lightning_nas.zeroshot import SynFlow


class AllPaths(nn.Module):
    """The sum of all operations on every edge, in which every path is contained."""

    def __init__(self, supernet: Supernet) -> None:
        super().__init__()
        assert isinstance(supernet, CellSupernet)
        self.supernet = supernet

    def forward(self, x: Tensor) -> Tensor:
        return self.supernet.forward_mixture(x, torch.ones(len(EDGES), 5, dtype=x.dtype).unbind())


def synflow(network: nn.Module, size: int) -> float:
    return SynFlow()(network, torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long))


def test_it_is_finite_for_every_path_of_published_size() -> None:
    """No path has more than the sum of all: without signs, what an operation adds can only raise a flow."""
    space = NASBench201()
    torch.manual_seed(0)
    supernet = space.build_supernet()
    bound = synflow(AllPaths(supernet), 32)
    assert 1e50 < bound < math.inf
    largest = synflow(supernet.extract((CONV_3X3,) * len(EDGES)), 32)
    assert 1e30 < largest < bound


@pytest.mark.slow
def test_no_path_has_more_than_the_sum_of_all() -> None:
    space = NASBench201(channels=2, cells=1, image_size=4)
    torch.manual_seed(0)
    supernet = space.build_supernet()
    bound = synflow(AllPaths(supernet), 4)
    scores = [synflow(supernet.extract(space[number]), 4) for number in range(0, space.size, 61)]
    assert 0 <= min(scores) < max(scores) < bound
