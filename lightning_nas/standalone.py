"""One architecture trained alone: ground truth and retraining."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_nas import checkpoint
from lightning_nas.data import classes_of
from lightning_nas.errors import NASError
from lightning_nas.finite import require_finite_loss, require_finite_weights
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.optim.schedule import Decay, Schedule, configure_like
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import STANDALONE, Path, SearchSpace
from lightning_nas.tricks import NO_TRICKS, AuxiliaryHead, DropPath, Tricks, mix, regularised


class Origin(NamedTuple):
    """Where a network is from; its checkpoints say so."""

    space: SearchSpace
    path: Path


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
        warmup_epochs: Epochs in which the learning rate rises, before the schedule.
        tricks: What else training does.
        seed: Of their draws.
        origin: Where the network is from; None where it is from no space, and then no checkpoint describes it.

    Raises:
        NASError: A trick that the network does not know.
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
        warmup_epochs: int = 0,
        tricks: Tricks = NO_TRICKS,
        seed: int = 0,
        origin: Origin | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self.optimizer = optimizer
        self.schedule: Schedule = schedule
        self.final_lr = final_lr
        self.decay: Decay = decay
        self.label_smoothing = label_smoothing
        self.warmup_epochs = warmup_epochs
        self.tricks = tricks
        self.seed = seed
        self.origin = origin
        self.drop_path = DropPath(regularised(network, "drop_path")) if tricks.drop_path else None
        self.auxiliary = AuxiliaryHead(regularised(network, "auxiliary")) if tricks.auxiliary else None
        counts = {"accuracy": 1} | ({"top5": 5} if num_classes >= 5 else {})
        self.hits = MetricCollection(
            {name: MulticlassAccuracy(num_classes, average="micro", top_k=k) for name, k in counts.items()},
            compute_groups=False,
        )
        self._loss: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.network(x))

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return configure_like(self)(self)

    # ------------------------------------------------------------------------------------------- training

    def on_fit_start(self) -> None:
        """Looks for the end of the training.

        Raises:
            NASError: Drop path would rise over a run without one.
        """
        if self.drop_path and self.trainer.max_epochs in (None, -1):
            raise NASError("tricks.drop_path rises over the epochs of a run: set trainer.max_epochs")

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, targets, *_ = batch
        rng = generator(self.seed, Stream.TRICKS, self.current_epoch, batch_idx, self.global_rank)
        if self.tricks.mixup or self.tricks.cutmix:
            images, targets = mix(images, targets, self.num_classes, self.tricks, rng)
        if self.drop_path:
            assert self.trainer.max_epochs
            self.drop_path.draw(
                self.tricks.drop_path * self.current_epoch / self.trainer.max_epochs, images, rng
            )
        loss = self._cross_entropy(self(images), targets)
        if self.auxiliary:
            loss = loss + self.tricks.auxiliary * self._cross_entropy(self.auxiliary(), targets)
        self._log_loss(loss.detach())
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def _log_loss(self, loss: Tensor) -> None:
        self._loss = loss
        # Looking at the loss waits for the device.
        if self.trainer.loggers and is_logged_step(self.trainer):
            self._require_finite_loss()
            self.log("train/loss", loss, prog_bar=True, logger=False)
            log_metrics(self.trainer, {"train/loss": float(loss)})

    def _require_finite_loss(self) -> None:
        if self._loss is not None:
            require_finite_loss(self, float(self._loss))

    # ----------------------------------------------------------------------------------------- evaluation

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Counts the hits of one batch, in one of several processes."""
        if batch_idx % self.trainer.world_size == self.global_rank:
            images, labels, *_ = batch
            self.hits.update(self(images), labels)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/accuracy``, and from five classes on ``val/top5``, in percent."""
        self._log_hits("val")

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Logs the same of the test split."""
        self._log_hits("test")

    def _log_hits(self, split: str) -> None:
        shares = {f"{split}/{name}": 100 * share for name, share in self.hits.compute().items()}
        self.log_dict(shares, sync_dist=True)
        self.hits.reset()

    # ---------------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Describes the network in plain types, and how it is trained.

        Raises:
            NASError: Loss or weights are not finite: the checkpoint would take the place of a good one.
        """
        self._require_finite_loss()
        require_finite_weights(self)
        if self.origin is not None:
            space, path = self.origin
            facts = {"arch": space.encode(path), "classes": classes_of(self), "training": self._training()}
            checkpoint.describe(checkpoint_, space, STANDALONE, **facts)

    @checkpoint.named
    def on_load_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Refuses to continue the training of another network, or otherwise than it was begun.

        Raises:
            NASError: The checkpoint is of something else, or of other tricks or another seed.
        """
        if self.origin is None:
            return
        space, path = self.origin
        description = checkpoint.require_network(checkpoint_, space, space.encode(path))
        for name, value in self._training().items():
            if description["training"][name] != value:
                raise NASError(
                    f"the training was begun with {name} {description['training'][name]}, but now {name} is {value}"
                )
        trained, given = description["classes"], classes_of(self)
        if trained is not None and given is not None:
            checkpoint.require_classes(trained, given)

    def _training(self) -> dict[str, Any]:
        return {"seed": self.seed, **{f"tricks.{name}": value for name, value in vars(self.tricks).items()}}
