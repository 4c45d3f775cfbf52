"""Mends how Lightning continues a run that is bounded by steps."""

from lightning import Callback, LightningModule, Trainer


class ExactResume(Callback):
    """Keeps a resumed run with ``max_steps`` from skipping an epoch of data.

    With ``max_steps`` Lightning 2.6 believes that every checkpoint lies within an epoch. One that was written
    at the end of an epoch then continues with an epoch without batches. So the bound is taken away while the
    loops are restored, which is after ``on_fit_start`` and before ``on_train_start``. (The ``on_train_start`` of
    other callbacks therefore sees a resumed run without a bound.)
    """

    def __init__(self) -> None:
        self._max_steps: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bound away; this callback comes last, for others may ask for it."""
        if trainer.ckpt_path is not None:
            self._max_steps = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts it back."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
            self._max_steps = None
