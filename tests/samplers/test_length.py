from pathlib import Path
from typing import Any

import pytest
import short_runs

from lightning_nas.errors import NASError
from lightning_nas.samplers import (
    DataImportanceSampler,
    DensitySampler,
    EvolutionSampler,
    PathImportanceSampler,
    PathSampler,
    UniformSampler,
)
from lightning_nas.samplers.length import RunLength, length_of


class Measured(UniformSampler):
    """Notes the length of its run before it begins, and what it was in the end."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.length = length_of(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps, self.batches = trainer.global_step, trainer.fit_loop.epoch_loop.total_batch_idx + 1


def fitted(root: Path, *callbacks: Any, **flags: Any) -> None:
    """On epochs of 5 batches."""
    options = {"limit_val_batches": 0, "logger": False, "max_epochs": 3, **flags}
    module = short_runs.supernet_module()
    short_runs.trainer(root, *callbacks, **options).fit(module, datamodule=short_runs.digits(train_size=250))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, RunLength(15, 15, 3)),
        ({"accumulate_grad_batches": 4}, RunLength(6, 15, 3)),
        ({"accumulate_grad_batches": 4, "max_steps": 5}, RunLength(5, 14, 2.8)),
        ({"max_epochs": -1, "max_steps": 7}, RunLength(7, 7, 1.4)),
        ({"max_epochs": -1, "max_steps": 7, "limit_train_batches": 2}, RunLength(7, 7, 3.5)),
    ],
)
def test_a_run_is_as_long_as_was_said(tmp_path: Path, flags: dict[str, Any], expected: RunLength) -> None:
    sampler = Measured()
    fitted(tmp_path, sampler, **flags)
    assert sampler.length == pytest.approx(expected)
    assert (sampler.steps, sampler.batches) == expected[:2]


@pytest.mark.parametrize("callback", [PathImportanceSampler, DataImportanceSampler])
@pytest.mark.parametrize("schedule", ["rising", "constant"])
def test_runs_may_be_bounded_by_steps_alone(tmp_path: Path, callback: Any, schedule: Any) -> None:
    made = callback(schedule=schedule)
    companions = [] if isinstance(made, PathSampler) else [UniformSampler()]
    fitted(tmp_path, *companions, made, max_epochs=-1, max_steps=7)
    assert made._length.epochs == pytest.approx(1.4)
    assert made.epoch == 1


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (DensitySampler(warmup_steps=15, probe_size=16), "the whole run has 15 steps: valid are 1 to 14"),
        (EvolutionSampler(warmup_epochs=3), "the whole run has 3 epochs"),
    ],
)
def test_warm_ups_that_leave_nothing_are_refused_though_epochs_end_in_few_batches(
    tmp_path: Path, sampler: PathSampler, message: str
) -> None:
    """Steps of 4 and of 1 batch: were all of them of 4, a run would have 24."""
    with pytest.raises(NASError, match=message):
        fitted(tmp_path, sampler, accumulate_grad_batches=4)
