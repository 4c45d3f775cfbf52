"""NaN among the images of one of two processes: both end in the same step, with the same sentence."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import short_runs
from gloo_workers import GlooPair, rank, strategy
from lightning import Callback, LightningModule, Trainer

from lightning_nas import checkpoint
from lightning_nas.callbacks import RunCheckpoint
from lightning_nas.errors import NASError
from lightning_nas.samplers import DensitySampler, UniformSampler

pytestmark = pytest.mark.slow

DENSITY = partial(DensitySampler, tau=0.5, warmup_steps=6, probe_size=16)


class Poison(Callback):
    """Makes an image of rank 1 NaN in one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        if rank() == 1 and trainer.global_step == self.step:
            batch[0][0] = math.nan


def poisoned(root: Path, step: int, paths: int, **flags: Any) -> tuple[int, str]:
    """The step in which a rank stops, and what it says: 3 epochs of 4 steps, with a checkpoint after every step."""
    sampler = UniformSampler(seed=0, paths=paths) if paths else DENSITY()
    callbacks = [sampler, Poison(step), RunCheckpoint(every_n_train_steps=flags.pop("save_every", None))]
    trainer = short_runs.trainer(root, *callbacks, **{**strategy(), **flags})
    with pytest.raises(NASError) as stopped:
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits(batch_size=25))
    return trainer.global_step, str(stopped.value)


@pytest.mark.parametrize(
    ("step", "seen", "paths", "flags"),
    [
        (0, 0, 1, {"log_every_n_steps": 1}),
        (5, 5, 1, {"log_every_n_steps": 1}),
        (5, 5, 3, {"log_every_n_steps": 1, "strategy": "path_ddp"}),
        (7, 7, 0, {"log_every_n_steps": 1}),
        # Looked at where an epoch of 4 steps is validated or saved, and after every step.
        (4, 8, 1, {"log_every_n_steps": 50}),
        (5, 8, 2, {"log_every_n_steps": 50, "strategy": "path_ddp"}),
        (7, 8, 1, {"log_every_n_steps": 50, "limit_val_batches": 0}),
        (6, 7, 1, {"log_every_n_steps": 50, "save_every": 1}),
    ],
)
def test_both_ranks_stop_in_the_same_step(
    pair: GlooPair, tmp_path: Path, step: int, seen: int, paths: int, flags: dict[str, Any]
) -> None:
    first, second = pair.run(poisoned, tmp_path, step, paths, **flags)
    assert first == second
    stopped, said = first
    assert stopped == seen
    assert f"train/loss is nan on rank {0 if seen > step + 1 else 1} at step {seen} (path " in said
    if step > 4:
        saved = checkpoint.read(tmp_path / "last.ckpt")
        assert saved["global_step"] <= step
        assert all(weights.isfinite().all() for weights in saved["state_dict"].values())


class Overflow(Callback):
    """A gradient that is not finite, although the loss is."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 5:
            next(p for p in pl_module.parameters() if p.grad is not None).grad.fill_(math.inf)  # type: ignore[union-attr]


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path) -> None:
    saving = RunCheckpoint(every_n_train_steps=1)
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), Overflow(), saving)
    with pytest.raises(NASError, match="weights are not finite after step 6: lower the learning rate"):
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert checkpoint.read(tmp_path / "last.ckpt")["global_step"] == 5
