"""What ``predict`` leaves behind."""

import csv
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_nas.files import written_whole


class PredictionsFile(Callback):
    """Writes ``predictions.csv``: true class, predicted class and its probability, one row per image."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: tuple[Tensor, Tensor],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the class probabilities (N x classes) and the labels (N,) of a batch."""
        self._batches.append(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes all rows of this rank; with several ranks each has a file of its own."""
        suffix = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = Path(trainer.default_root_dir) / f"predictions{suffix}.csv"
        with written_whole(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "prediction", "probability"])
            for probabilities, labels in self._batches:
                best = probabilities.float().max(1)
                writer.writerows(
                    zip(labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
                )
        self._batches = []
