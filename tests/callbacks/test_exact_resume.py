from pathlib import Path

import short_runs
from lightning import Callback, LightningModule, Trainer

from lightning_nas.samplers import UniformSampler


class Bound(Callback):
    """Remembers the bound that other callbacks see."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(trainer.max_steps)

    on_train_end = on_fit_start


def test_the_bound_is_gone_only_while_the_loops_are_restored(tmp_path: Path) -> None:
    """That no epoch is skipped is tested with all other ways to resume, in test_resume."""
    for steps in (4, 8):
        bound = Bound()
        trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), bound, max_steps=steps)
        last = tmp_path / "last.ckpt"
        trainer.fit(
            short_runs.supernet_module(),
            datamodule=short_runs.digits(),
            ckpt_path=last if last.exists() else None,
        )
        assert bound.seen == [steps] * 2
        assert trainer.global_step == steps


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    for resume in (None, tmp_path / "last.ckpt"):
        trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), max_steps=4)
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits(), ckpt_path=resume)
        assert trainer.global_step == 4
