"""The checkpoint from which a run continues exactly."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed

PREEMPTED = "preempted"

AGREE_EVERY = 10
"""Batches after which ranks on GPUs ask each other whether one was told to stop."""


class RunCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: after every epoch, within epochs where that is asked, and when the run is told to stop.

    Lightning's ModelCheckpoint is for keeping the best; as a way to continue it has three traps. With
    ``save_top_k=0, save_last=True`` it writes nothing before the run ends. With ``every_n_train_steps`` it
    saves before a validation that follows the step, which a resumed run then leaves out. And a directory that
    was moved gives ``last-v1.ckpt`` beside a ``last.ckpt`` that grows old.

    Ctrl-C, SIGTERM and, where it is held back (``python -m lightning_nas``), SIGUSR1 tell a run to stop. It finishes
    the step, saves and ends, because an interrupt in the middle of a step would leave weights that belong to no
    step; a second Ctrl-C stops at once. Of several processes it is enough that one is told: all stop after the same
    step, on GPUs the next tenth of an epoch's. After SIGTERM and SIGUSR1, with which clusters preempt, the file ``preempted`` says that ``last.ckpt`` is
    there to be continued, and the exit status is 128 and the number of the signal.

    Args:
        every_n_train_steps: Optimizer steps between checkpoints within an epoch; None saves at its end only.
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        self.every_n_train_steps = every_n_train_steps
        self._due = False
        self._received = 0
        self._agreed = 0
        self._usual: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens for signals, in place of Lightning, which acts on them in the middle of a step."""
        self._due, self._received, self._agreed = False, 0, 0
        if trainer.is_global_zero:
            (Path(trainer.default_root_dir) / PREEMPTED).unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._usual[number] = signal.signal(number, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        signal.signal(signal.SIGINT, self._usual[signal.SIGINT])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time, or as soon after as a run can continue from there."""
        # Ranks on GPUs wait for all work in flight when they agree.
        waits = trainer.world_size > 1 and trainer.strategy.root_device.type != "cpu"
        if not waits or (batch_idx + 1) % AGREE_EVERY == 0:
            self._agree(trainer)
        every = self.every_n_train_steps
        self._due |= bool(self._agreed) or (every is not None and trainer.global_step % every == 0)
        if self._due and _is_between_steps(trainer, batch_idx):
            self.save(trainer)
            self._stop_if_told(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what the epoch and its validation left."""
        self._agree(trainer)
        self.save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops where a signal came in the epoch that just ended."""
        self._stop_if_told(trainer)

    def _agree(self, trainer: Trainer) -> None:
        """Takes note of the signal that any rank received."""
        if signal.SIGUSR1 in signal.sigpending():
            self._received = signal.sigwait([signal.SIGUSR1])
        self._agreed = self._received
        if trainer.world_size > 1:
            received = torch.tensor(self._received, device=trainer.strategy.root_device)
            distributed.all_reduce(received, distributed.ReduceOp.MAX)
            self._agreed = int(received)

    def _stop_if_told(self, trainer: Trainer) -> None:
        if not self._agreed:
            return
        rank_zero_info(f"Saved last.ckpt after step {trainer.global_step}: --ckpt_path last continues there")
        if self._agreed == signal.SIGINT:
            raise KeyboardInterrupt
        if not trainer.is_global_zero:
            # A failure, and SLURM would end rank 0 before its loggers are done.
            raise SystemExit(0)
        (Path(trainer.default_root_dir) / PREEMPTED).touch()
        raise SystemExit(128 + self._agreed)

    def save(self, trainer: Trainer) -> None:
        """Writes ``last.ckpt``; as long as it is not whole, the one before remains."""
        self._due = False
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        last = Path(trainer.default_root_dir) / "last.ckpt"
        # Lightning writes into the folder for temporary files and moves the result. That copies from one disk to
        # another, which may be cut short; within a folder it cannot.
        part = last.with_name("last.ckpt.part")
        # Said aloud, because Lightning otherwise tells at every save that it was not.
        trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            part.replace(last)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stops listening."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        self._usual = {}


def _is_between_steps(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a run can continue after this batch.

    It cannot while gradients accumulate, nor before a validation or the end of the epoch, which are left out.
    """
    window_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    validation_follows = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    return window_ends and not validation_follows and not trainer.is_last_batch
