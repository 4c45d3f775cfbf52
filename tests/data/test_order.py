"""One order for every kind of loader: torch's with workers that outlive the epochs, and FFCV's."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_nas.data import EpochOrder, OrderSampler, UniformOrder, ffcv_order
from lightning_nas.random import Stream, generator

N = 11


class Learnt(EpochOrder):
    """An order that is made up when an epoch is over, as importance sampling does."""

    def __init__(self) -> None:
        self.list = torch.arange(N)

    def indices(self, epoch: int) -> Tensor:
        return self.list


class Squares(Dataset[tuple[Tensor, int]]):
    """Something to recognise every image by, and its number."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((1, 2, 2), index**2), index


def test_the_uniform_order_is_a_permutation_of_seed_and_epoch() -> None:
    order = UniformOrder(N, seed=3)
    for epoch in (0, 5):
        assert order.indices(epoch).tolist() == generator(3, Stream.ORDER, epoch).permutation(N).tolist()
    assert sorted(order.indices(1).tolist()) == list(range(N))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_the_list(world_size: int) -> None:
    order = UniformOrder(N, seed=0)
    samplers = [OrderSampler(order, N, rank, world_size) for rank in range(world_size)]
    for epoch in (0, 4):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [list(sampler) for sampler in samplers]
        assert [len(sampler) for sampler in samplers] == [N // world_size] * world_size
        together = [index for indices in zip(*shares, strict=True) for index in indices]
        assert together == order.indices(epoch)[: N // world_size * world_size].tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_persistent_workers_follow_an_order_that_changes(workers: int) -> None:
    order = Learnt()
    sampler = OrderSampler(order, N)
    loader = DataLoader(
        Squares(), batch_size=2, sampler=sampler, num_workers=workers, persistent_workers=True, drop_last=True
    )
    for epoch, wanted in enumerate((list(range(N)), [7] * N, [3, 3, 9, 0, 1, 10, 10, 2, 2, 2, 5])):
        order.list = torch.tensor(wanted)
        sampler.set_epoch(epoch)
        batches = list(loader)
        assert torch.cat([indices for _, indices in batches]).tolist() == wanted[:10]
        for images, indices in batches:
            assert torch.equal(images[:, 0, 0, 0], indices**2)


@pytest.fixture
def _same_threads_after() -> Iterator[None]:
    # Each of FFCV's loaders sets the number of threads of the whole process.
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow  # FFCV compiles its pipeline before the first batch.
@pytest.mark.usefixtures("_same_threads_after")
def test_ffcv_follows_an_order_that_changes(tmp_path: Path) -> None:
    order, threads = Learnt(), torch.get_num_threads()
    try:
        traversal = ffcv_order(order, rank=1, world_size=2)
        assert torch.get_num_threads() == threads
        from ffcv.fields import IntField, RGBImageField
        from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
        from ffcv.loader import Loader
        from ffcv.transforms import ToTensor
        from ffcv.writer import DatasetWriter
    except ImportError as error:
        if os.environ.get("LIGHTNING_NAS_REQUIRE_FFCV"):
            raise
        pytest.skip(f"FFCV cannot be imported ({error}); `make ffcv` tells how to get it")

    path = tmp_path / "numbers.beton"
    fields = {"image": RGBImageField(write_mode="raw"), "index": IntField()}
    writer = DatasetWriter(str(path), fields, num_workers=1)
    writer.from_indexed_dataset([(np.full((4, 4, 3), index, np.uint8), index) for index in range(N)])
    pipelines = {"image": [SimpleRGBImageDecoder(), ToTensor()], "index": [IntDecoder(), ToTensor()]}
    loader = Loader(str(path), batch_size=5, num_workers=1, order=traversal, pipelines=pipelines)
    for wanted in (list(range(N)), [7] * N, [3, 3, 9, 0, 1, 10, 10, 2, 2, 2, 5]):
        order.list = torch.tensor(wanted)
        [(images, indices)] = [(image.clone(), index.clone()) for image, index in loader]
        assert indices.flatten().tolist() == wanted[1:10:2]
        assert images[:, 0, 0, 0].tolist() == wanted[1:10:2]
