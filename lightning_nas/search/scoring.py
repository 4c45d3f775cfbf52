"""Scores of paths by a supernet, within a validation of Lightning."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from lightning import Trainer

from lightning_nas.data import ImageDataModule
from lightning_nas.evaluation import Calibration, Scores
from lightning_nas.module import SupernetModule
from lightning_nas.spaces import Path

Criterion = Literal["accuracy", "loss"]


class SupernetScorer:
    """Scores paths on the validation images as ``validate`` does, over all ranks.

    Args:
        trainer: Whose validation is under way.
        module: The supernet.
        data: The images.
        criterion: What a score is: the top-1 ``accuracy`` in percent, or minus the ``loss``. On one batch it is always
            the accuracy.
        recalibrate: Training images on which batch-norm statistics of every path are measured; 0 leaves them alone.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: SupernetModule,
        data: ImageDataModule,
        criterion: Criterion = "accuracy",
        recalibrate: int = 0,
    ) -> None:
        self.trainer = trainer
        self.module = module
        self.criterion: Criterion = criterion
        self._loader = data.val_dataloader()
        self._number = int(sum(trainer.num_val_batches))
        self._batches: Iterator[Any] = iter(())
        self._given = self._number
        self._images: Sequence[torch.Tensor] = ()
        if recalibrate:
            images, _ = data.training_images(recalibrate)
            self._images = images.to(module.device).split(data.eval_batch_size)

    def score(self, paths: Sequence[Path], batch: int | None) -> list[float]:
        """Scores of paths on all validation images, or on batch number ``batch``, counted round and round."""
        self.prepare(paths)
        self.module.on_validation_epoch_start()
        batches = islice(self._loader, self._number) if batch is None else [self._batch(batch % self._number)]
        for number, images in enumerate(batches):
            on_device = self.trainer.strategy.batch_to_device(images)
            self.trainer.strategy.validation_step(on_device, number)
        scores = self.module.evaluator.scores()
        return self.found(scores) if batch is None else scores.accuracy.tolist()

    def prepare(self, paths: Sequence[Path]) -> None:
        """Makes these the paths that a validation scores."""
        self.module.eval_paths = tuple(paths)
        self.module.calibration = Calibration(self.module.supernet, self._images) if self._images else None
        self.module.partial_scores = None

    def found(self, scores: Scores) -> list[float]:
        """What counts of accuracy and loss."""
        found: list[float] = (scores.accuracy if self.criterion == "accuracy" else -scores.loss).tolist()
        return found

    def _batch(self, number: int) -> Any:
        if number < self._given:
            self._batches, self._given = iter(self._loader), 0
        skipped = number - self._given
        self._given = number + 1
        return next(islice(self._batches, skipped, None))

    def state(self) -> dict[str, Any]:
        """Nothing: the weights stay as they are."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to do."""
