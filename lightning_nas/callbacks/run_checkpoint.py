"""The checkpoint from which a run continues exactly."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class RunCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: written at the end of every epoch, and within epochs where that is asked.

    Lightning's ModelCheckpoint is for keeping the best; as a way to continue it has three traps. With
    ``save_top_k=0, save_last=True`` it writes nothing before the run ends. With ``every_n_train_steps`` it
    saves after the last batch of an epoch, before the validation that follows, which a resumed run then leaves
    out. And a directory that was moved gives ``last-v1.ckpt`` beside a ``last.ckpt`` that grows old.

    Args:
        every_n_train_steps: Optimizer steps between checkpoints within an epoch; None saves at its end only.
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        self.every_n_train_steps = every_n_train_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time, unless gradients are still accumulating or the epoch ends here."""
        window_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        due = self.every_n_train_steps and trainer.global_step % self.every_n_train_steps == 0
        if due and window_ends and not trainer.is_last_batch:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what the epoch and its validation left."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes ``last.ckpt``; as long as it is not whole, the one before remains."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")
