"""Which networks are measured, and that they are."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.latency import Conditions, measure, select
from lightning_nas.latency.conditions import DTYPES
from lightning_nas.latency.timing import stopwatch
from lightning_nas.spaces import (
    DARTS,
    ListedSpace,
    MobileNetV2,
    NASBench1Shot1,
    NASBenchMacro,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)

SPACE = Toy(layers=2)
PATHS = [(0, 0), (1, 2), (2, 1)]


@pytest.mark.parametrize(
    "space",
    [MobileNetV2(), NASBench1Shot1(), DARTS(), RestrictedSpace(NASBenchMacro(), ((1, 2),) * 8), Pooling()],
    ids=lambda space: type(space).__name__,
)
def test_every_choice_is_among_the_fitted_networks(space: SearchSpace) -> None:
    selection = select(space, 20, seed=0)
    assert len(selection.held_out) == 4
    assert len(selection.fitted) >= 16
    assert all(space.is_valid(path) for path in selection.paths)
    for decision, choices in enumerate(space.choices):
        only = [(*space.choices[:decision], (choice,), *space.choices[decision + 1 :]) for choice in choices]
        possible = {choice for choice, kept in zip(choices, only, strict=True) if space.count(allowed=kept)}
        assert {path[decision] for path in selection.fitted} == possible


def test_networks_differ_and_follow_from_the_seed() -> None:
    space = NASBenchMacro()
    selection = select(space, 50, seed=1)
    assert len(set(selection.paths)) == len(selection.paths) == 50
    assert select(space, 50, seed=1) == selection != select(space, 50, seed=2)


def test_a_small_space_is_measured_whole() -> None:
    assert set(select(SPACE, 200, seed=0).paths) == set(SPACE)
    one = ListedSpace(SPACE, ((1, 1),))
    assert select(one, 200, seed=0).paths == ((1, 1), (1, 1))


def record(root: Path, **settings: Any) -> PartialScores:
    return PartialScores(root / "latency.partial", settings)


class Clock:
    """Gives the numbers 1, 2, 3, ... as milliseconds, and is interrupted at one of them."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.asked: list[tuple[int, ...]] = []
        self.interrupted_at = interrupted_at

    def __call__(self, path: tuple[int, ...]) -> float:
        if len(self.asked) == self.interrupted_at:
            raise KeyboardInterrupt
        self.asked.append(path)
        return float(len(self.asked))


def use(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("lightning_nas.latency.timing.stopwatch", lambda *_: clock)
    return clock


def test_the_fastest_of_the_rounds_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = use(Clock(), monkeypatch)
    assert measure(SPACE, PATHS, Conditions(), 2, record(tmp_path)).tolist() == [1, 2, 3]
    assert clock.asked == PATHS * 2


def test_an_interrupted_measurement_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Clock(interrupted_at=4), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        measure(SPACE, PATHS, Conditions(), 2, record(tmp_path, batch=1))
    with pytest.raises(NASError, match="begun with batch 1, but now batch is 2"):
        measure(SPACE, PATHS, Conditions(), 2, record(tmp_path, batch=2))
    clock = use(Clock(), monkeypatch)
    found = measure(SPACE, PATHS, Conditions(), 2, record(tmp_path, batch=1))
    assert clock.asked == PATHS[1:]
    assert found.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(batch=3, channels_last=True),
        Conditions(threads=2, precision="bf16"),
        Conditions(precision="16"),
    ],
    ids=["plain", "batch", "bf16", "half"],
)
def test_networks_are_timed(conditions: Conditions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-3)
    seen: list[torch.Tensor] = []
    build = NASBenchMacro.build_standalone

    def watched(space: NASBenchMacro, path: tuple[int, ...]) -> torch.nn.Module:
        network = build(space, path)
        network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        return network

    monkeypatch.setattr(NASBenchMacro, "build_standalone", watched)
    state = torch.get_rng_state()
    space = NASBenchMacro(channels=(2, 2, 4, 4), head_channels=4, image_size=8)
    assert stopwatch(space, conditions)(space[3]) > 0
    assert torch.equal(state, torch.get_rng_state())
    assert seen[0].shape == (conditions.batch, 3, 8, 8)
    assert seen[0].dtype == DTYPES[conditions.precision]
    assert seen[0].is_contiguous(memory_format=torch.channels_last) == conditions.channels_last


def test_more_work_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a factor of thousands, which no other work on the machine can hide."""
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-3)
    small, large = Toy(layers=1, width=2), Toy(layers=1, width=4096)
    times = [min(stopwatch(space, Conditions())((1,)) for _ in range(3)) for space in (small, large)]
    assert np.diff(times) > 0


def test_the_clock_of_the_process_stands_still_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-4)

    class Sleeper(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return images

    monkeypatch.setattr(Toy, "build_standalone", lambda *_: Sleeper())
    assert stopwatch(SPACE, Conditions())((0, 0)) >= 50
    assert 0 < stopwatch(SPACE, Conditions(clock="process"))((0, 0)) < 25


@pytest.mark.parametrize(
    ("options", "said"),
    [({"threads": 0}, "threads is 0"), ({"batch": -1}, "batch is -1"), ({"device": "cuda"}, "finds no GPU")],
)
def test_impossible_conditions_are_refused(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NASError, match=said):
        Conditions(**options)
