from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
from lightning import Trainer
from scipy.stats import chisquare
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201, Pooling, SearchSpace
from lightning_nas.spaces.nasbench201_graph import CONV_1X1, CONV_3X3, live_edges

MODULE = SupernetModule(Toy(layers=2))
TRAINER = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)


def test_every_path_is_equally_likely() -> None:
    sampler = UniformSampler(paths=3, seed=0)
    steps = [sampler.choose(TRAINER, MODULE, step) for step in range(1500)]
    counts = np.bincount([MODULE.space.index(path) for paths in steps for path in paths], minlength=9)
    # Chi-square with 8 degrees of freedom stays below 26.1 in 999 of 1000 draws.
    assert ((counts - 500) ** 2 / 500).sum() < 26.1


def test_paths_are_a_function_of_seed_and_step_alone() -> None:
    sampler = UniformSampler(paths=2, seed=5)
    forwards = [sampler.choose(TRAINER, MODULE, step) for step in range(20)]
    backwards = [
        UniformSampler(paths=2, seed=5).choose(TRAINER, MODULE, step) for step in reversed(range(20))
    ]
    assert forwards == backwards[::-1]
    assert forwards != [UniformSampler(paths=2, seed=6).choose(TRAINER, MODULE, step) for step in range(20)]


def test_less_than_one_path_is_refused() -> None:
    with pytest.raises(NASError, match=r"sampler\.paths is 0"):
        UniformSampler(paths=0)


SPACE = Toy(layers=3)
BASE = SPACE.cost((0, 0, 0)).macs  # every layer that is not nothing adds 36
WINDOWED: dict[str, Any] = {"window": (BASE + 30, BASE + 150), "bins": 2, "seed": 0}


@pytest.mark.slow
def test_bins_are_equally_likely_and_so_are_the_paths_of_a_bin() -> None:
    sampler = UniformSampler(paths=100, **WINDOWED)
    module = SupernetModule(SPACE)
    drawn = Counter(path for step in range(1000) for path in sampler.choose(TRAINER, module, step))
    # One or two layers lie in the first bin, three in the second.
    expected = {path: 5e4 / (18 if 0 in path else 8) for path in SPACE if any(path)}
    assert drawn.keys() == expected.keys()
    assert chisquare([drawn[path] for path in expected], list(expected.values())).pvalue > 1e-3
    assert sampler.fallbacks == 0


def test_the_released_loop_written_out() -> None:
    sampler = UniformSampler(paths=2, tries=2, **WINDOWED)
    module, fallbacks = SupernetModule(SPACE), 0
    for step in range(300):
        rng = generator(0, Stream.PATH, step)
        expected = []
        for _ in range(2):
            low, high = ((BASE + 30, BASE + 90), (BASE + 90, BASE + 150))[rng.integers(2)]
            for _ in range(2):
                path = SPACE.sample(rng)
                if low <= SPACE.cost(path).macs <= high:
                    break
            else:
                path = SPACE.sample(rng)
                fallbacks += 1
            expected.append(path)
        assert sampler.choose(TRAINER, module, step) == tuple(expected)
    assert sampler.fallbacks == fallbacks > 100


def test_a_window_of_one_cost() -> None:
    """That of the layers that are all nothing: both ends of a window belong to it."""
    sampler = UniformSampler(window=(BASE, BASE), seed=0)
    module = SupernetModule(SPACE)
    assert {sampler.choose(TRAINER, module, step) for step in range(20)} == {((0, 0, 0),)}


def test_parameters_may_be_bounded() -> None:
    sampler = UniformSampler(window=(0, SPACE.cost((0, 0, 1)).params), cost="params", seed=0)
    module = SupernetModule(SPACE)
    drawn = {path for step in range(200) for path in sampler.choose(TRAINER, module, step)}
    assert drawn == {path for path in SPACE if path.count(0) >= 2}


def test_the_share_of_unconstrained_paths_is_logged(tmp_path: Path) -> None:
    sampler = UniformSampler(paths=2, tries=1, **WINDOWED)
    trainer = short_runs.trainer(tmp_path, sampler)
    trainer.fit(SupernetModule(SPACE), datamodule=short_runs.digits())
    rates = [row["sampler/fallback_rate"] for row in short_runs.metrics(tmp_path)]
    assert float([rate for rate in rates if rate][-1]) == pytest.approx(sampler.fallbacks / 24)
    assert sampler.fallbacks > 0


@pytest.mark.slow
def test_cells_without_convolution_are_rejected() -> None:
    """As many as live edges with a convolution leave: 1,983 of 15,625."""
    space = NASBench201(channels=1, cells=1, in_channels=1, image_size=4)
    module, accepting = SupernetModule(space), UniformSampler(reject_weightless=True, tries=1)
    accepted = {path for path in space if accepting._accepts(module, path, None)}
    convolved = {
        path for path in space if any(edge.choice in (CONV_1X1, CONV_3X3) for edge in live_edges(path))
    }
    assert accepted == convolved
    assert len(accepted) == 15_625 - 1_983
    sampler = UniformSampler(paths=1000, reject_weightless=True)
    assert convolved.issuperset(sampler.choose(TRAINER, module, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"window": (2.0, 1.0)},
            r"sampler\.window is \(2\.0, 1\.0\): valid are two costs in ascending order",
        ),
        ({"window": (5.0,)}, r"sampler\.window is \(5\.0,\): valid are two costs"),
        ({"window": (1.0, 2.0, 3.0)}, r"sampler\.window is \(1\.0, 2\.0, 3\.0\)"),
        ({"window": (-1.0, 1.0)}, r"sampler\.window is \(-1\.0, 1\.0\)"),
        ({"window": (float("nan"), 1.0)}, r"sampler\.window is \(nan, 1\.0\)"),
        ({"window": (1.0, float("inf"))}, r"sampler\.window is \(1\.0, inf\)"),
        ({"bins": 0}, r"sampler\.bins is 0"),
        ({"tries": 0}, r"sampler\.tries is 0"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        UniformSampler(**options)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (
            SPACE,
            {"window": (1, 2)},
            r"sampler\.window is \(1, 2\).* none of the space: their macs are 444 to 552",
        ),
        (Toy(layers=20), {"window": (1, 2)}, "none of 5000 random paths: their macs are"),
        (Pooling(channels=(2, 2, 2)), {"reject_weightless": True}, r"sampler\.reject_weightless True"),
    ],
)
def test_what_no_path_satisfies_is_refused_before_a_step(
    space: SearchSpace, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    sampler = UniformSampler(**options)
    with pytest.raises(NASError, match=message):
        short_runs.trainer(tmp_path, sampler).fit(
            short_runs.supernet_module(space), datamodule=short_runs.digits()
        )
    assert sampler.choice_visits.sum() == 0
