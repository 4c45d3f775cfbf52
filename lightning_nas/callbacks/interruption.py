"""Ctrl-C between two steps and not within one."""

import signal
import threading
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from lightning_nas.callbacks.run_checkpoint import RunCheckpoint


class Interruption(Callback):
    """On Ctrl-C finishes the step, saves ``last.ckpt`` and stops; a second Ctrl-C stops at once.

    An interrupt in the middle of a step would leave weights that belong to no step. With several processes,
    which are not interrupted at the same step, Ctrl-C keeps its usual meaning.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens."""
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._asked = False
            self._previous = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, self._previous)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops after the step that was interrupted, unless the epoch ends with it anyway."""
        window_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._asked and window_ends and not trainer.is_last_batch:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, RunCheckpoint):
                    callback.save(trainer)
            raise KeyboardInterrupt

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops where the epoch that just ended was interrupted; its checkpoint is written."""
        if self._asked:
            raise KeyboardInterrupt

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stops listening."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
