from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_nas.data.augment import Augmentation, crop, draw_flips, draw_offsets, flip, normalise
from lightning_nas.data.loader import EvaluationLoader, TrainingBatch, TrainingLoader
from lightning_nas.data.order import EpochOrder
from lightning_nas.data.resident import ImageSet
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator

MEAN, STD = torch.tensor([100.0, 110, 120]), torch.tensor([50.0, 60, 70])
AUGMENTATION = Augmentation(padding=2, flip=True)


def pixels(num_images: int) -> Tensor:
    rng = np.random.default_rng(num_images)
    return torch.from_numpy(rng.integers(0, 256, (num_images, 3, 6, 6), dtype=np.uint8))


def image_set(num_images: int, augmentation: Augmentation | None = None) -> ImageSet:
    return ImageSet(pixels(num_images), torch.arange(num_images), MEAN, STD, augmentation)


def loader(num_images: int = 23, batch_size: int = 5, rank: int = 0, world_size: int = 1) -> TrainingLoader:
    return TrainingLoader(
        image_set(num_images, AUGMENTATION),
        batch_size,
        seed=7,
        drop_last=False,
        rank=rank,
        world_size=world_size,
    )


def same(first: Sequence[Sequence[Tensor]], second: Sequence[Sequence[Tensor]]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one, other)
        for batch, other_batch in zip(first, second, strict=True)
        for one, other in zip(batch, other_batch, strict=True)
    )


def labels(batches: list[TrainingBatch]) -> list[int]:
    return torch.cat([y for _, y, _ in batches]).tolist()


def test_batches_equal_a_plain_recomputation() -> None:
    images = pixels(23)
    training = loader()
    for epoch in range(2):
        order = generator(7, Stream.ORDER, epoch).permutation(23)
        for number, (x, y, indices) in enumerate(training):
            chosen = order[number * 5 : number * 5 + 5]
            rng = generator(7, Stream.AUGMENT, epoch, number)
            expected = crop(images[chosen], draw_offsets(len(chosen), 2, rng), 2)
            expected = flip(expected, draw_flips(len(chosen), rng))
            assert torch.equal(x, normalise(expected, MEAN, STD))
            assert y.tolist() == indices.tolist() == chosen.tolist()
            assert (x.dtype, y.dtype, indices.dtype) == (torch.float32, torch.int64, torch.int64)


def test_without_augmentation_images_stay_as_they_are() -> None:
    for x, y, _ in TrainingLoader(image_set(12), 4, seed=0):
        assert torch.equal(x, normalise(pixels(12)[y], MEAN, STD))


def test_every_image_once_per_epoch_in_changing_order() -> None:
    training = loader()
    epochs = [labels(list(training)) for _ in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_incomplete_last_batch_is_dropped() -> None:
    training = TrainingLoader(image_set(23), 5, seed=7)
    assert [len(y) for _, y, _ in training] == [5, 5, 5, 5]
    assert len(training) == 4


@pytest.mark.parametrize("position", range(11))
def test_resumes_at_every_position(position: int) -> None:
    uninterrupted, interrupted, resumed = loader(), loader(), loader()
    expected = [batch for _ in range(4) for batch in uninterrupted]
    iterators = (batch for _ in range(2) for batch in interrupted)
    list(islice(iterators, position))
    resumed.load_state_dict(interrupted.state_dict())
    iter(resumed)  # Lightning makes an iterator that it does not use
    rest = [batch for _ in range(2) for batch in resumed]
    assert len(rest) == (10 if position % 5 == 0 else 10 - position % 5)
    assert same(rest, expected[position : position + len(rest)])


def test_a_state_after_the_last_batch_goes_on_with_the_next_epoch() -> None:
    uninterrupted, resumed = loader(), loader()
    list(uninterrupted)
    resumed.load_state_dict(uninterrupted.state_dict())
    assert uninterrupted.state_dict() == {"epoch": 0, "position": 5}
    assert same(list(resumed), list(uninterrupted))
    assert resumed.state_dict() == {"epoch": 1, "position": 5}


def test_an_iterator_that_is_never_exhausted_still_ends_its_epoch() -> None:
    exhausted, stopped = loader(), loader()
    expected = [list(exhausted) for _ in range(3)]
    for epoch in expected:
        iterator = iter(stopped)
        assert same([next(iterator) for _ in range(len(stopped))], epoch)


def test_an_epoch_that_is_cut_short_is_followed_by_the_next() -> None:
    whole, cut = loader(), loader()
    list(whole)
    list(islice(cut, 2))
    assert same(list(cut), list(whole))


def test_set_epoch_goes_to_its_beginning_once() -> None:
    expected, moved = loader(), loader()
    list(expected)
    second_epoch = list(expected)
    moved.sampler.set_epoch(1)
    iterator = iter(moved)
    first = next(iterator)
    moved.sampler.set_epoch(1)
    assert same([first, *iterator], second_epoch)


# 23 images leave in the last batch: 3 of 5, 3 of 10, 8 of 15 images.
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_together_see_what_one_sees(world_size: int) -> None:
    single = loader(batch_size=5 * world_size)
    processes = [loader(batch_size=5, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(process) for process in processes} == {len(single)}
    for _ in range(2):
        for (x, y, _), *shares in zip(single, *processes, strict=True):
            together_x, together_y = torch.empty_like(x), torch.empty_like(y)
            for rank, (share_x, share_y, _) in enumerate(shares):
                together_x[rank::world_size], together_y[rank::world_size] = share_x, share_y
            assert torch.equal(x, together_x)
            assert torch.equal(y, together_y)


def test_seeds_differ() -> None:
    assert labels(list(loader())) != labels(list(TrainingLoader(image_set(23), 5, seed=8, drop_last=False)))


def test_global_random_state_is_untouched() -> None:
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    list(loader())
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_state)  # noqa: NPY002


def test_too_large_batch_is_an_error() -> None:
    with pytest.raises(
        NASError, match=r"^batch_size is 5 on each of 2 .* only 9 training images; .* at most 4\.$"
    ):
        TrainingLoader(image_set(9), 5, seed=0, world_size=2)


def test_a_process_without_images_is_an_error() -> None:
    with pytest.raises(NASError, match=r"^batch_size is 4, which leaves too few of 13 .* 3 processes"):
        TrainingLoader(image_set(13), 4, seed=0, drop_last=False, world_size=3)


def test_whole_batches_need_not_be_dropped() -> None:
    training = TrainingLoader(image_set(24), 4, seed=0, drop_last=False, world_size=3)
    assert [len(y) for _, y, _ in training] == [4, 4]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_images", [15, 17, 20])
def test_evaluation_deals_the_batches_of_one_process(num_images: int, world_size: int) -> None:
    images = image_set(num_images)
    parts = [slice(start, start + 5) for start in range(0, num_images, 5)]
    expected = [(normalise(pixels(num_images)[part], MEAN, STD), images.labels[part]) for part in parts]
    for rank in range(world_size):
        evaluation = EvaluationLoader(images, 5, rank, world_size)
        assert len(evaluation) == len(list(evaluation))
        assert same(list(evaluation), expected[rank::world_size])


def test_a_process_without_evaluation_batch_is_an_error() -> None:
    with pytest.raises(NASError, match=r"^eval_batch_size is 5, .* 10 images .* at most 4\.$"):
        EvaluationLoader(image_set(10), 5, 0, 3)
    images = image_set(11)
    EvaluationLoader(images, 5, 2, 3)
    for world_size in (3, 4):
        with pytest.raises(NASError, match=r"^eval_batch_size is 6, .* 11 images .* at most [53]\.$"):
            EvaluationLoader(images, 6, 0, world_size)


def test_the_size_that_the_evaluation_error_advises_is_the_largest_valid() -> None:
    images = image_set(11)
    for world_size, largest in ((3, 5), (4, 3)):
        EvaluationLoader(images, largest, 0, world_size)
        with pytest.raises(NASError):
            EvaluationLoader(images, largest + 1, 0, world_size)


def test_chosen_images_are_normalised() -> None:
    images = image_set(6)
    x, y = images.batch(torch.tensor([4, 1]))
    assert y.tolist() == [4, 1]
    assert torch.equal(x[1], normalise(pixels(6)[1:2], MEAN, STD)[0])


def test_repeating_epochs_are_the_first_one() -> None:
    repeating = TrainingLoader(image_set(23, AUGMENTATION), 5, seed=7, repeat=True)
    first = list(repeating)
    repeating.set_epoch(1)
    assert same(list(repeating), first)
    assert same(list(TrainingLoader(image_set(23, AUGMENTATION), 5, seed=7)), first)


class Backwards(EpochOrder):
    """The last images, more of them in every epoch, and each of them twice."""

    def indices(self, epoch: int) -> Tensor:
        return torch.arange(23).flip(0)[: 2 + epoch].repeat_interleave(2)


def test_an_order_is_asked_when_its_epoch_begins() -> None:
    training = TrainingLoader(image_set(23), 2, seed=7, order=Backwards())
    next(iter(training))
    assert [y.tolist() for _, y, _ in islice(training, 3)] == [[22, 22], [21, 21], [20, 20]]
    training.set_epoch(2)
    assert [y.tolist() for _, y, _ in islice(training, 4)] == [[22, 22], [21, 21], [20, 20], [19, 19]]
