import numpy as np
import pytest
from lightning import Trainer
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler

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
