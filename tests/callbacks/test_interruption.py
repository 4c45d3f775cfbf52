import signal
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer

from lightning_nas.samplers import UniformSampler


class CtrlC(Callback):
    """Interrupts in the middle of a step."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.at = step
        self.times = times

    def on_before_backward(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.at:
            for _time in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_an_interrupted_run_continues_exactly(tmp_path: Path, step: int) -> None:
    """3 epochs of 4 batches; step 3 is the last of its epoch."""
    straight = short_runs.supernet_module()
    short_runs.trainer(tmp_path / "straight", UniformSampler(seed=0)).fit(
        straight, datamodule=short_runs.digits()
    )

    root = tmp_path / "interrupted"
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        short_runs.trainer(root, UniformSampler(seed=0), CtrlC(step)).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert signal.getsignal(signal.SIGINT) is usual
    assert torch.load(root / "last.ckpt", weights_only=True)["global_step"] == step + 1
    module = short_runs.supernet_module()
    short_runs.trainer(root, UniformSampler(seed=0)).fit(
        module, datamodule=short_runs.digits(), ckpt_path=root / "last.ckpt"
    )
    short_runs.assert_same(module.state_dict(), straight.state_dict())
    assert short_runs.metrics(root) == short_runs.metrics(tmp_path / "straight")


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        short_runs.trainer(tmp_path, UniformSampler(seed=0), CtrlC(1, times=2)).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert not (tmp_path / "last.ckpt").exists()
