from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import short_runs
from lightning import Trainer
from scipy.stats import chisquare
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import ComplexitySampler
from lightning_nas.spaces import (
    Cost,
    ListedSpace,
    NASBench201,
    NASBenchMacro,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces.extremes import extreme_costs

TRAINER = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
MACRO = RestrictedSpace(NASBenchMacro(), ((0, 1, 2), (0, 2), *((0,),) * 4, (0, 1), (0, 2)))
LISTED = ListedSpace(
    NASBench201(), ((3, 3, 3, 3, 3, 3), (0, 0, 0, 0, 0, 0), (2, 2, 0, 1, 3, 0), (2, 2, 2, 2, 2, 2))
)


class Only(SupernetModule):
    """A module of which the sampler sees nothing but the space: the supernet is that of a small one."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(Toy(layers=1))
        self.space = space


def params(space: SearchSpace, path: Architecture) -> int:
    return space.cost(path).params


def macs(space: SearchSpace, path: Architecture) -> int:
    return space.cost(path).macs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "cost", "enumerable"),
    [
        (MACRO, "params", True),
        (MACRO, "macs", True),
        (LISTED, "params", True),
        (MACRO, "params", False),
        (MACRO, "macs", False),
    ],
)
def test_draws_are_in_proportion_to_cost(
    space: SearchSpace,
    cost: Literal["params", "macs"],
    enumerable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not enumerable:
        monkeypatch.setattr("lightning_nas.samplers.complexity.ENUMERABLE", 0)
    sampler, module = ComplexitySampler(cost=cost, paths=1000, seed=0), Only(space)
    drawn = Counter(path for step in range(100) for path in sampler.choose(TRAINER, module, step))
    costs = np.array([getattr(space.cost(path), cost) for path in space], dtype=float)
    expected = 1e5 * costs / costs.sum()
    assert chisquare([drawn[path] for path in space], expected).pvalue > 1e-3
    # Sampling that forgot the cost would be found out.
    assert chisquare([drawn[path] for path in space]).pvalue < 1e-9
    assert sampler.largest == (0 if enumerable else costs.max())


def test_both_ways_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [params(MACRO, path) for path in MACRO]
    sampler, module = ComplexitySampler(paths=2, seed=3), Only(MACRO)
    for step in range(200):
        rng = generator(3, Stream.PATH, step)
        expected = []
        for _ in range(2):
            number = int(rng.integers(sum(costs)))
            index = 0
            while number >= costs[index]:
                number -= costs[index]
                index += 1
            expected.append(MACRO[index])
        assert sampler.choose(TRAINER, module, step) == tuple(expected)
    monkeypatch.setattr("lightning_nas.samplers.complexity.ENUMERABLE", 0)
    for step in range(200):
        rng = generator(3, Stream.PATH, step)
        expected = []
        for _ in range(2):
            path = MACRO.sample(rng)
            while rng.integers(max(costs)) >= params(MACRO, path):
                path = MACRO.sample(rng)
            expected.append(path)
        assert sampler.choose(TRAINER, module, step) == tuple(expected)


class Peaks(Toy):
    """Costs with a peak from which no single decision leads to the highest."""

    def cost(self, path: Architecture) -> Cost:
        peaks: dict[Architecture, int] = {(0, 0): 5, (2, 2): 9}
        value = peaks.get(path, 1)
        return Cost(value, value)


def test_a_larger_path_raises_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_nas.samplers.complexity.ENUMERABLE", 0)
    space = Peaks(layers=2)
    assert extreme_costs(space, "params") == (1, 5)
    sampler, module = ComplexitySampler(paths=100, seed=0), Only(space)
    drawn = Counter(path for step in range(200) for path in sampler.choose(TRAINER, module, step))
    assert sampler.largest == 9
    expected = [2e4 * params(space, path) / 21 for path in space]
    assert chisquare([drawn[path] for path in space], expected).pvalue > 1e-3


def test_spaces_too_large_to_enumerate_are_trained(tmp_path: Path) -> None:
    """And the bound is kept in the checkpoint."""
    sampler = ComplexitySampler()
    module = short_runs.supernet_module(Toy(layers=12))
    flags = {"limit_val_batches": 0, "limit_train_batches": 2, "max_epochs": 1}
    short_runs.trainer(tmp_path, sampler, **flags).fit(module, datamodule=short_runs.digits())
    assert sampler.state_dict()["largest"] == params(module.space, (2,) * 12)
    assert sampler.choice_visits.sum() == 24


def test_equal_costs_are_sampled_uniformly() -> None:
    space = Pooling()
    sampler, module = ComplexitySampler(paths=100, seed=0), Only(space)
    drawn = Counter(path for step in range(100) for path in sampler.choose(TRAINER, module, step))
    assert chisquare([drawn[path] for path in space]).pvalue > 1e-3


def test_less_than_one_path_is_refused() -> None:
    with pytest.raises(NASError, match=r"sampler\.paths is 0"):
        ComplexitySampler(paths=0)
