"""The checkpoint from which a run continues exactly."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info


class RunCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: after every epoch, within epochs where that is asked, and on Ctrl-C.

    Lightning's ModelCheckpoint is for keeping the best; as a way to continue it has three traps. With
    ``save_top_k=0, save_last=True`` it writes nothing before the run ends. With ``every_n_train_steps`` it
    saves before a validation that follows the step, which a resumed run then leaves out. And a directory that
    was moved gives ``last-v1.ckpt`` beside a ``last.ckpt`` that grows old.

    Ctrl-C finishes the step, saves and stops, because an interrupt in the middle of a step would leave weights
    that belong to no step; a second Ctrl-C stops at once. With several processes, which are not interrupted at
    the same step, it keeps its usual meaning.

    Args:
        every_n_train_steps: Optimizer steps between checkpoints within an epoch; None saves at its end only.
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        self.every_n_train_steps = every_n_train_steps
        self._due = False
        self._interrupted = False
        self._usual: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens for Ctrl-C."""
        self._due = self._interrupted = False
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._usual = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, self._usual)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time, or as soon after as a run can continue from there."""
        every = self.every_n_train_steps
        self._due |= self._interrupted or (every is not None and trainer.global_step % every == 0)
        if self._due and _is_between_steps(trainer, batch_idx):
            self.save(trainer)
            self._stop_if_interrupted(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what the epoch and its validation left."""
        self.save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops where the epoch that just ended was interrupted."""
        self._stop_if_interrupted(trainer)

    def _stop_if_interrupted(self, trainer: Trainer) -> None:
        if self._interrupted:
            rank_zero_info(
                f"Saved last.ckpt after step {trainer.global_step}: --ckpt_path last continues there"
            )
            raise KeyboardInterrupt

    def save(self, trainer: Trainer) -> None:
        """Writes ``last.ckpt``; as long as it is not whole, the one before remains."""
        self._due = False
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            # Said aloud, because Lightning otherwise tells at every save that it was not.
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt", weights_only=False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stops listening."""
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)
            self._usual = None


def _is_between_steps(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a run can continue after this batch.

    It cannot while gradients accumulate, nor before a validation or the end of the epoch, which are left out.
    """
    window_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    validation_follows = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    return window_ends and not validation_follows and not trainer.is_last_batch
