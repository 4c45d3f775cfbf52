"""A learning rate that falls when the training loss has stopped falling."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.calr import CaLR


class LossPlateau(Callback):
    """Multiplies the learning rate by ``factor`` after ``patience`` epochs without a smaller mean training loss.

    The schedule of Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures (NeurIPS 2021,
    Tab. A13, and released code). It goes with ``model.schedule`` ``constant``. Lightning steps a plateau schedule of
    its own only after checkpoints of an epoch are written, and skips it when one of those is continued; here a resumed
    run has the rates of an uninterrupted one.

    Args:
        factor: What the rate is multiplied by, in (0, 1).
        patience: Epochs to wait, from 0.
    """

    def __init__(self, factor: float = 0.5, patience: int = 30) -> None:
        if not 0 < factor < 1:
            raise NASError(f"LossPlateau.factor is {factor}: valid are numbers between 0 and 1")
        if patience < 0:
            raise NASError(f"LossPlateau.patience is {patience}: valid are numbers of epochs from 0")
        self.factor = factor
        self.patience = patience
        self._state: dict[str, Any] = {}
        self._sum: torch.Tensor | None = None
        self._number = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the optimizer in hand.

        Raises:
            NASError: The module has a schedule of its own, is no supernet, or CaLR sets its rate.
        """
        if not isinstance(pl_module, SupernetModule) or trainer.lr_scheduler_configs:
            raise NASError("LossPlateau sets the rate of a SupernetModule whose model.schedule is 'constant'")
        if any(isinstance(callback, CaLR) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise NASError(
                "trainer.callbacks has both LossPlateau and CaLR: only one of them can set the rate"
            )
        self._plateau = ReduceLROnPlateau(trainer.optimizers[0], factor=self.factor, patience=self.patience)
        if self._state:
            self._plateau.load_state_dict(self._state)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the losses of the batch."""
        assert isinstance(pl_module, SupernetModule)
        for loss in pl_module.losses[len(pl_module.losses) - len(pl_module.logits) :]:
            self._sum = loss.double() + (0 if self._sum is None else self._sum.to(loss.device))
            self._number += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the mean over the epoch and all ranks."""
        if self._sum is not None:
            mean = float(trainer.strategy.reduce(self._sum / self._number, reduce_op="mean"))
            self._plateau.step(mean)
        self._state = self._plateau.state_dict()
        self._sum, self._number = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The best loss and the epochs since, and the sum of the present epoch."""
        total = None if self._sum is None else self._sum.cpu()
        return {"plateau": self._state, "sum": total, "number": self._number}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues there."""
        self._state, self._sum, self._number = state_dict["plateau"], state_dict["sum"], state_dict["number"]
