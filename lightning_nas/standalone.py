"""One architecture trained alone: ground truth and retraining."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightning_nas.optim.schedule import Decay, Schedule, configure


class StandaloneModule(LightningModule):
    """Trains one network for classification.

    Args:
        network: Maps images (N x C x H x W) to logits (N x classes).
        num_classes: Number of classes.
        optimizer: Makes the optimizer.
        schedule: See ``lightning_nas.optim.schedule.configure``.
        final_lr: Learning rate at the end of the schedule.
        decay: What weight decay applies to; see there.
        label_smoothing: Of the training loss, in [0, 1).
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        schedule: Schedule = "cosine",
        final_lr: float = 0.0,
        decay: Decay = "all",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule: Schedule = schedule
        self.final_lr = final_lr
        self.decay: Decay = decay
        self.label_smoothing = label_smoothing
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.network(x))

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return configure(self, self.optimizer, self.schedule, self.final_lr, self.decay)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels, *_ = batch
        return F.cross_entropy(self(images), labels, label_smoothing=self.label_smoothing)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Counts the hits of one batch."""
        images, labels = batch
        self.accuracy.update(self(images), labels)

    def on_test_epoch_end(self) -> None:
        """Logs ``test/accuracy`` in percent."""
        self.log("test/accuracy", 100 * self.accuracy.compute(), sync_dist=True)
        self.accuracy.reset()
