"""Estimates of many paths: averages, processes, interruptions."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import ClassVar

import exports
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_nas.data import DigitsDataModule
from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.spaces import NASBench201, Path
from lightning_nas.zeroshot import Estimator, GradNorm, ReLULogDet, Snip, SynFlow, estimation
from lightning_nas.zeroshot.estimation import Images, Inherited, Untrained, estimate_paths

SPACE = NASBench201(channels=2, cells=1, in_channels=1, image_size=8)
PATHS: Sequence[Path] = [(3, 2, 1, 4, 3, 2), (1, 0, 0, 3, 0, 0), (0, 0, 0, 0, 0, 0), (2, 2, 2, 2, 2, 2)]
ESTIMATORS = [GradNorm(), SynFlow(), ReLULogDet()]


def batches(number: int = 1, size: int = 8) -> list[Images]:
    images, labels = DigitsDataModule().training_images(number * size)
    pairs = zip(images.split(size), labels.split(size), strict=True)
    return [(x.numpy(), y.numpy()) for x, y in pairs]


def test_as_asked_one_by_one() -> None:
    found = estimate_paths(ESTIMATORS, Untrained(SPACE), PATHS, batches())
    [(images, labels)] = batches()
    for path, row in zip(PATHS, found, strict=True):
        network = Untrained(SPACE).network(path, 0)
        told = [estimator(network, torch.tensor(images), torch.tensor(labels)) for estimator in ESTIMATORS]
        assert row.tolist() == pytest.approx(told, rel=1e-4)
    assert found[2, 2] == -np.inf  # without an edge all images set all rectifiers alike


def test_the_mean_over_seeds_and_batches() -> None:
    found = estimate_paths([Snip()], Untrained(SPACE), PATHS, batches(2), seeds=[3, 5])
    apart = [
        estimate_paths([Snip()], Untrained(SPACE), PATHS, [batch], seeds=[seed])
        for seed in (3, 5)
        for batch in batches(2)
    ]
    np.testing.assert_allclose(found, np.mean(apart, axis=0), rtol=1e-12)
    assert len({float(column[0, 0]) for column in apart}) == 4


def test_networks_have_weights_of_their_own_whatever_torch_drew_before() -> None:
    source, state = Untrained(SPACE), torch.get_rng_state()

    def stem(path: Path, seed: int) -> list[float]:
        return next(source.network(path, seed).parameters()).flatten().tolist()

    first = stem(PATHS[0], 0)
    torch.rand(3)
    assert stem(PATHS[0], 0) == first
    assert stem(PATHS[1], 0) != first
    assert stem(PATHS[0], 1) != first
    torch.set_rng_state(state)
    stem(PATHS[0], 0)
    assert torch.get_rng_state().equal(state)


@pytest.mark.slow
def test_two_processes_say_the_same_to_the_last_bit() -> None:
    one = estimate_paths(ESTIMATORS, Untrained(SPACE), PATHS, batches(2))
    two = estimate_paths(ESTIMATORS, Untrained(SPACE), PATHS, batches(2), workers=2)
    np.testing.assert_array_equal(one, two)


@dataclass(frozen=True)
class Interrupting(Estimator):
    """Counts its calls, and is interrupted at one of them."""

    at: int = 0
    title: ClassVar[str] = "interrupting"
    calls: ClassVar[list[int]] = []

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        self.calls.append(1)
        if len(self.calls) == self.at:
            raise KeyboardInterrupt
        return float(network(images).sum().item())


def test_interrupted_it_continues_where_it_was(tmp_path: File) -> None:
    record = PartialScores(tmp_path / "partial", {"seed": 0})
    whole = estimate_paths([Interrupting()], Untrained(SPACE), PATHS, batches())
    Interrupting.calls.clear()
    with pytest.raises(KeyboardInterrupt):
        estimate_paths([Interrupting(at=3)], Untrained(SPACE), PATHS, batches(), record=record)
    shown: list[int] = []
    again = estimate_paths(
        [Interrupting()], Untrained(SPACE), PATHS, batches(), record=record, show=shown.append
    )
    np.testing.assert_array_equal(again, whole)
    assert (len(Interrupting.calls), shown) == (5, [2, 3, 4])


def test_an_interruption_ends_the_work_at_once(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when the error is forgotten, which would have the processes work off all paths before."""
    ended: list[int] = []

    def working(_job: estimation.Job, paths: Sequence[Path], _workers: int) -> Iterator[list[float]]:
        try:
            for _ in paths:
                yield [0.0]
        finally:
            ended.append(1)

    def interrupt(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(estimation, "_in_processes", working)
    record = PartialScores(tmp_path / "partial", {})
    with pytest.raises(KeyboardInterrupt) as held:
        estimate_paths([Snip()], Untrained(SPACE), PATHS, batches(), record=record, show=interrupt)
    assert (ended, record.read()) == ([1], {"rows": [[0.0]] * 2})
    del held


@dataclass(frozen=True)
class Dying(Estimator):
    """Ends its process, as the system does where memory is short."""

    title: ClassVar[str] = "dying"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        os._exit(9)


@pytest.mark.slow
def test_a_process_that_is_ended_is_told_in_a_sentence() -> None:
    with pytest.raises(NASError, match="workers is 2, but one of these processes was ended"):
        estimate_paths([Dying()], Untrained(SPACE), PATHS, batches(), workers=2)


def test_weights_that_are_replaced_are_not_mixed(tmp_path: File) -> None:
    file = tmp_path / "last.ckpt"
    exports.write_supernet(file, SPACE)
    source = Inherited.of(file)
    first = source.network(PATHS[0], 0).state_dict()
    assert all(value.equal(first[name]) for name, value in source.network(PATHS[0], 1).state_dict().items())
    content = torch.load(file)
    torch.save(content | {"state_dict": {k: 2 * v for k, v in content["state_dict"].items()}}, file)
    after = Inherited.of(file)
    assert not all(v.equal(first[name]) for name, v in after.network(PATHS[0], 0).state_dict().items())
    with pytest.raises(NASError, match=r"last\.ckpt', whose weights were replaced since"):
        source.network(PATHS[0], 0)


def test_what_is_estimated_is_kept_on_the_way(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimation, "SAVE_EVERY", -1.0)
    record = PartialScores(tmp_path / "partial", {"seed": 0})
    found = estimate_paths([Snip()], Untrained(SPACE), PATHS, batches(), record=record)
    assert record.read() == {"rows": found.tolist()}
    with pytest.raises(NASError, match="begun with seed 0, but now seed is 1"):
        estimate_paths(
            [Snip()], Untrained(SPACE), PATHS, batches(), record=PartialScores(record.path, {"seed": 1})
        )


def test_without_estimators_no_network_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Untrained, "network", None)
    assert estimate_paths([], Untrained(SPACE), PATHS, batches()).shape == (4, 0)
