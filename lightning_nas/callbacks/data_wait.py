"""How fast a run trains, and for how long it waits for data."""

from time import perf_counter
from typing import Any

from lightning import Callback, LightningModule, Trainer

from lightning_nas.data import TrainingLoader
from lightning_nas.loggers import is_logged_step, log_metrics


class DataWait(Callback):
    """Logs the time of training steps, on those that are logged and over all since the last of them.

    - ``time/data_wait``: seconds per optimizer step in which the process waited for its batches.
    - ``time/data_wait_share``: the part of the time of a step that this is, in [0, 1].
    - ``time/images_per_second``: training images of all processes together.

    A step lasts from the end of the one before, with all that callbacks do in it. Neither validation nor what happens
    between epochs is counted. On several processes it is the first one that waits. A GPU may still be busy with earlier
    steps while the process waits for data. Only batches of a ``TrainingLoader`` are measured.

    These are the only metrics that differ when a run is repeated.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets an earlier run."""
        self._clear()
        self._last = perf_counter()

    def _clear(self) -> None:
        self._seconds = self._waited = 0.0
        self._images = self._steps = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves out what happened since the last step."""
        self._last = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves out the validation."""
        self._last = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the time of the batch; logs."""
        now, loader = perf_counter(), trainer.train_dataloader
        if not isinstance(loader, TrainingLoader):
            return
        self._seconds += now - self._last
        self._last = now
        self._waited += loader.waited
        self._images += len(batch[0])
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        self._steps += 1
        if is_logged_step(trainer):
            self._log(trainer)
            self._clear()

    def _log(self, trainer: Trainer) -> None:
        metrics = {
            "time/data_wait": self._waited / self._steps,
            "time/data_wait_share": self._waited / self._seconds,
            "time/images_per_second": self._images * trainer.world_size / self._seconds,
        }
        log_metrics(trainer, metrics)
