"""Threads that decode, whatever the format."""

import os
from collections.abc import Iterator
from threading import Lock, Semaphore

import pytest
import torch

from lightning_nas.data.decoded import DecodedImages, Decoding, Pixels, usable_cores
from lightning_nas.data.source import Request

SIZE = 2


class Numbers(DecodedImages):
    """Images of one colour, their number, of which some cannot be decoded; it counts what was decoded."""

    def __init__(self, workers: int, batches_ahead: int, broken: frozenset[int] = frozenset()) -> None:
        decoding = Decoding(SIZE, 1.0, workers, batches_ahead)
        super().__init__(torch.arange(100), torch.zeros(3), torch.ones(3), decoding)
        self.broken = broken
        self.lock, self.decoded = Lock(), 0
        self.admitted = Semaphore(1000)

    def decode(self, request: Request, images: Pixels) -> None:
        assert self.admitted.acquire(timeout=10)
        for row, number in enumerate(request.indices.tolist()):
            if number in self.broken:
                raise ValueError(f"image {number}")
            images[row] = number
            with self.lock:
                self.decoded += 1


def requests(number: int, size: int) -> list[Request]:
    return [Request(torch.arange(size) + size * batch) for batch in range(number)]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("batches_ahead", [0, 2, 30])
def test_batches_come_in_order_and_whole(workers: int, size: int, batches_ahead: int) -> None:
    asked = requests(6, size)
    answers = list(Numbers(workers, batches_ahead).read(asked))
    assert len(answers) == 6
    for request, (answered, images) in zip(asked, answers, strict=True):
        assert answered is request
        expected = request.indices[:, None, None, None].expand(size, 3, SIZE, SIZE)
        assert torch.equal(images, expected.to(torch.uint8))


@pytest.mark.parametrize("batches_ahead", [0, 1, 4])
def test_batches_are_decoded_so_far_ahead(batches_ahead: int) -> None:
    begun = 0

    def counted() -> Iterator[Request]:
        nonlocal begun
        for request in requests(10, 3):
            begun += 1
            yield request

    images = Numbers(1, batches_ahead).read(counted())
    for taken in range(1, 11):
        next(images)
        assert begun == min(10, taken + batches_ahead)


@pytest.mark.parametrize("broken", [0, 7, 11])
def test_an_error_of_any_thread_is_raised_with_its_batch(broken: int) -> None:
    images = Numbers(3, 2, frozenset([broken])).read(requests(3, 4))
    for _ in range(broken // 4):
        next(images)
    with pytest.raises(ValueError, match=f"^image {broken}$"):
        next(images)


def test_an_iterator_that_is_left_stops_decoding() -> None:
    source = Numbers(1, 20)
    source.admitted = Semaphore(1)
    images = source.read(requests(20, 2))
    next(images)
    del images
    source.admitted.release(100)
    [(_, last)] = source.read([Request(torch.tensor([99]))])  # by the same thread, after all before
    assert last.unique().tolist() == [99]
    assert source.decoded <= 2 + 2 + 1  # the second batch may have been begun


@pytest.mark.parametrize(
    ("allowed", "given", "processes", "expected"),
    [(8, None, 1, 8), (8, None, 3, 2), (2, None, 4, 1), (64, "6", 4, 6)],
)
def test_processes_share_the_cores_that_slurm_has_not_dealt(
    monkeypatch: pytest.MonkeyPatch, allowed: int, given: str | None, processes: int, expected: int
) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if given:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    assert usable_cores(processes) == expected
