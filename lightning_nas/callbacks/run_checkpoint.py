"""Checkpoints from which a run continues exactly."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, except that the last batch of an epoch waits for the epoch to end.

    With ``every_n_train_steps``, ModelCheckpoint saves after the last batch too, before the validation that
    follows it. A run that is killed then and resumed goes on with the next epoch, and that validation never
    happens. The checkpoint at the end of the epoch is the first one that has everything. Gradients that are
    still accumulating are in no checkpoint either, so none is saved before they are used.
    """

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves when it is time, unless the epoch ends here or gradients are still accumulating."""
        window_ends = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if window_ends and not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
