import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import LightningModule
from space_checks import CONFIGS, small_space

from lightning_nas.callbacks import Trainability
from lightning_nas.callbacks.trainability import path_condition_number
from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201, NormPolicy
from lightning_nas.zeroshot import NTK

SPACE = NASBench201(channels=2, cells=1)


def rows(root: Path) -> list[dict[str, str]]:
    return short_runs.table(root / "trainability.csv")


@pytest.mark.parametrize("accumulated", [1, 3])
def test_it_is_the_estimate_of_extracted_paths(tmp_path: Path, accumulated: int) -> None:
    """20 batches per epoch, or 7 steps of which the last one has 2 batches."""
    copies, measured = short_runs.Copies(), Trainability(every_n_steps=5, probe_size=20)
    options: dict[str, Any] = {"limit_val_batches": 0, "accumulate_grad_batches": accumulated}
    sampler = UniformSampler(paths=2, seed=0)
    trainer = short_runs.trainer(tmp_path, sampler, measured, copies, max_epochs=3, **options)
    data = short_runs.digits(batch_size=10)
    trainer.fit(short_runs.supernet_module(SPACE), datamodule=data)

    found, last = rows(tmp_path), {1: 20, 3: 7}[accumulated]
    images, labels = data.training_images(20)
    assert {int(row["step"]) for row in found} == set(range(5, 3 * last + 1, 5))
    for row in found:
        step, path = int(row["step"]), SPACE.decode(row["arch"])
        assert path in copies.paths[step]
        assert int(row["epoch"]) == math.ceil(step / last)
        expected = -NTK()(copies.supernets[step].extract(path), images, labels)
        assert float(row["log10_condition_number"]) == pytest.approx(math.log10(expected), rel=1e-4)
    numbers = {
        epoch: [float(r["log10_condition_number"]) for r in found if r["epoch"] == epoch] for epoch in "123"
    }
    expected_medians = [np.median(numbers[epoch]) for epoch in "123"]
    assert short_runs.logged(tmp_path, "trainability/log10_condition_number") == pytest.approx(
        expected_medians
    )
    assert (tmp_path / "trainability.png").exists()


@pytest.mark.parametrize("config", ["mobilenet_small", "autoformer_small", "nds_resnext_small"])
def test_weights_that_paths_share_in_part_are_those_of_the_path(config: str) -> None:
    """What a path does not use of a tensor has no gradient, and does not change the kernel."""
    torch.manual_seed(0)
    space = small_space(CONFIGS / f"{config}.yaml")
    supernet = space.build_supernet()
    path = space.sample(np.random.default_rng(1))
    images, labels = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    expected = -NTK()(supernet.extract(path), images, labels)
    assert path_condition_number(supernet, path, images) == pytest.approx(expected, rel=1e-2)


def test_a_resumed_run_measures_the_same(tmp_path: Path) -> None:
    files, steps = ("trainability.csv", "trainability.png"), (2, 3, 4, 6, 7, 11)
    short_runs.assert_resumes(
        tmp_path, partial(Trainability, every_n_steps=2), steps, files, "trainability/log10_condition_number"
    )
    assert len(rows(tmp_path / "straight")) == 6


@pytest.mark.parametrize("norm", [NormPolicy(), NormPolicy(running_stats=True)])
def test_training_is_left_alone(tmp_path: Path, norm: NormPolicy) -> None:
    short_runs.assert_training_is_left_alone(tmp_path, partial(Trainability, every_n_steps=1), SPACE, norm)


def test_a_path_that_ignores_the_images_has_no_condition() -> None:
    supernet = SPACE.adapt(in_channels=1, image_size=8).build_supernet()
    assert path_condition_number(supernet, (0,) * 6, torch.randn(16, 1, 8, 8)) == math.inf


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"Trainability\.every_n_steps is 0: valid are numbers from 1"):
        Trainability(every_n_steps=0)
    with pytest.raises(NASError, match="Trainability needs a SupernetModule, not a LightningModule"):
        Trainability().setup(short_runs.trainer(tmp_path), LightningModule(), "fit")
    for size, message in ((15, "valid are numbers from 16"), (201, "but there are 200 training images")):
        trainer = short_runs.trainer(tmp_path, Trainability(probe_size=size), UniformSampler(), logger=False)
        with pytest.raises(NASError, match=rf"Trainability\.probe_size is {size}.*{message}"):
            trainer.fit(short_runs.supernet_module(SPACE), datamodule=short_runs.digits())
