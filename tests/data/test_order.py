"""The images of every epoch."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_nas.data import BalancedOrder, QuasiRandomOrder, UniformOrder
from lightning_nas.random import Stream, generator

N = 11


def test_the_uniform_order_is_a_permutation_of_seed_and_epoch() -> None:
    order = UniformOrder(N, seed=3)
    for epoch in (0, 5):
        assert order.indices(epoch).tolist() == generator(3, Stream.ORDER, epoch).permutation(N).tolist()
    assert sorted(order.indices(1).tolist()) == list(range(N))


def test_a_balanced_epoch_shows_every_class_equally_often() -> None:
    labels = torch.tensor([0] * 20 + [1] * 3 + [5] * 9)
    order = BalancedOrder(labels, seed=1)
    for epoch in range(20):
        indices = order.indices(epoch)
        assert len(indices) == len(labels)
        assert sorted(labels[indices].bincount()[[0, 1, 5]].tolist()) == [10, 11, 11]
        times = Counter(indices.tolist())
        # None comes twice before all of its class came once.
        for label, possible in ((0, {0, 1}), (1, {3, 4}), (5, {1, 2})):
            assert {times[i] for i in torch.nonzero(labels == label)[:, 0].tolist()} <= possible
    assert torch.equal(order.indices(4), BalancedOrder(labels, seed=1).indices(4))
    assert not torch.equal(order.indices(4), order.indices(5))


def test_no_class_is_the_larger_one_in_every_epoch() -> None:
    labels = torch.tensor([0] * 5 + [1] * 5 + [2])
    order = BalancedOrder(labels, seed=0)
    smaller = {int(labels[order.indices(epoch)].bincount().argmin()) for epoch in range(30)}
    assert smaller == {0, 1, 2}


def test_all_images_of_a_large_class_come_equally_often_in_the_long_run() -> None:
    labels = torch.tensor([0] * 12 + [1] * 4)
    order = BalancedOrder(labels, seed=0)
    counts = sum(order.indices(epoch).bincount(minlength=16) for epoch in range(3000))
    assert isinstance(counts, torch.Tensor)
    for members in (slice(12), slice(12, None)):
        assert stats.chisquare(counts[members].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("window", [1, 3, 100])
def test_a_quasi_random_epoch_has_few_pages_at_a_time(window: int) -> None:
    pages = torch.tensor([7] * 5 + [2] * 6 + [9] * 4 + [30] * 5 + [4] * 7)
    order = QuasiRandomOrder(pages, seed=2, window=window)
    for epoch in range(10):
        indices = order.indices(epoch)
        assert sorted(indices.tolist()) == list(range(len(pages)))
        seen = pages[indices].tolist()
        groups: list[set[int]] = [set()]
        for page in seen:
            if page not in groups[-1] and len(groups[-1]) == window:
                groups.append(set())
            groups[-1].add(page)
        # A page never comes back once its group is over.
        assert sum(map(len, groups)) == 5
    assert not torch.equal(order.indices(0), order.indices(1))
    assert torch.equal(order.indices(3), QuasiRandomOrder(pages, seed=2, window=window).indices(3))


def test_the_pages_of_a_quasi_random_epoch_are_shuffled() -> None:
    order = QuasiRandomOrder(torch.arange(3).repeat_interleave(2), seed=0, window=1)
    counts = Counter(tuple((order.indices(epoch)[::2] // 2).tolist()) for epoch in range(3000))
    assert len(counts) == 6
    assert stats.chisquare(np.array(list(counts.values()))).pvalue > 1e-3


def test_a_window_of_everything_is_a_uniform_permutation() -> None:
    order = QuasiRandomOrder(torch.tensor([0, 1, 1]), seed=0, window=2)
    counts = Counter(tuple(order.indices(epoch).tolist()) for epoch in range(6000))
    assert len(counts) == 6
    assert stats.chisquare(np.array(list(counts.values()))).pvalue > 1e-3
