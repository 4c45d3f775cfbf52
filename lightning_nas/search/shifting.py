"""Supernet shifting: the weights go on learning where the search looks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning import Trainer
from torch.nn import functional as F

from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.schedule import decay_groups
from lightning_nas.search.scoring import Criterion, SupernetScorer
from lightning_nas.spaces import Path


@dataclass(frozen=True)
class Shifting:
    """How the weights are trained while a search scores paths.

    Zhang et al., Boosting Order-Preserving and Transferability for Neural Architecture Search: a Joint Architecture
    Search and Fine-tuning Perspective (CVPR 2024). The paper sums the losses of all paths of a generation and updates
    the supernet once; the released code takes steps on every path for itself before it is scored. Weights of the
    checkpoint are never changed. In the end the best paths are scored anew, with the final weights, because the
    scores of a search belong to weights that differ.

    Attributes:
        steps: Training batches per path, at least 1.
        lr: Learning rate, above 0.
        momentum: Of one optimizer for the whole search, in [0, 1).
        weight_decay: Not of biases and batch-norm, at least 0.
        label_smoothing: Of the training loss, in [0, 1).
        accumulate: One update per generation (per 100 paths of a larger one), with the mean loss of all of its paths,
            each on ``steps`` batches of its own; otherwise an update after every batch, as in the released code.
    """

    steps: int = 20
    lr: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    accumulate: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise NASError(f"shifting.steps is {self.steps}: valid are numbers from 1")
        if self.lr <= 0:
            raise NASError(f"shifting.lr is {self.lr}: valid are numbers above 0")
        if not 0 <= self.momentum < 1:
            raise NASError(f"shifting.momentum is {self.momentum}: valid are numbers from 0 to below 1")
        if self.weight_decay < 0:
            raise NASError(f"shifting.weight_decay is {self.weight_decay}: valid are numbers from 0")
        if not 0 <= self.label_smoothing < 1:
            raise NASError(
                f"shifting.label_smoothing is {self.label_smoothing}: valid are numbers from 0 to below 1"
            )


class ShiftingScorer(SupernetScorer):
    """Trains paths a little before it scores them.

    On several ranks every one trains its share of a batch; gradients and running statistics are averaged. Without ``accumulate`` every
    path is scored by itself, because the weights change in between, so the others wait for the rank that scores it.

    Args:
        trainer: Whose validation is under way.
        module: The supernet.
        data: The images; the training split trains.
        shifting: How.
        criterion: See ``SupernetScorer``.
        recalibrate: See there.

    Raises:
        NASError: The precision needs a scaled loss.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: SupernetModule,
        data: ImageDataModule,
        shifting: Shifting,
        criterion: Criterion = "accuracy",
        recalibrate: int = 0,
    ) -> None:
        super().__init__(trainer, module, data, criterion, recalibrate)
        if trainer.precision == "16-mixed":
            raise NASError(
                "trainer.precision is 16-mixed: shifting trains without scaling its loss, use bf16-mixed"
            )
        self.shifting = shifting
        self._training = data.train_dataloader()
        self._trained = 0
        self._stream: Iterator[Any] | None = None
        self._optimizer = torch.optim.SGD(
            decay_groups(module),
            lr=shifting.lr,
            momentum=shifting.momentum,
            weight_decay=shifting.weight_decay,
        )

    def score(self, paths: Sequence[Path], batch: int | None) -> list[float]:
        """Trains the paths, and scores them on all validation images.

        Raises:
            NASError: Scores of one batch are asked for, or the loss is not finite.
        """
        if batch is not None:
            raise NASError("algorithm scores single batches, so shifting has no place in it: use Evolution")
        if self.shifting.accumulate:
            self._optimizer.zero_grad()
            for path in paths:
                self._backward(path, share=1 / (len(paths) * self.shifting.steps))
            self._step()
            return super().score(paths, None)
        scores: list[float] = []
        for path in paths:
            for _ in range(self.shifting.steps):
                self._optimizer.zero_grad()
                self._backward(path, share=1.0, batches=1)
                self._step()
            scores += super().score([path], None)
        return scores

    def _backward(self, path: Path, share: float, batches: int | None = None) -> None:
        self.module.train()
        with torch.enable_grad():
            for images, labels, *_ in islice(self._training_batches(), batches or self.shifting.steps):
                with self.trainer.precision_plugin.train_step_context():
                    logits = self.module(images, path)
                    loss = F.cross_entropy(logits, labels, label_smoothing=self.shifting.label_smoothing)
                if not torch.isfinite(loss):
                    arch = self.module.space.encode(path)
                    raise NASError(
                        f"the loss of path {arch} is {float(loss)} while shifting: lower shifting.lr"
                    )
                (share * loss).backward()
        self.module.eval()

    def _step(self) -> None:
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        statistics = [buffer for buffer in self.module.buffers() if buffer.is_floating_point()]
        for tensor in (*gradients, *statistics):
            self.trainer.strategy.reduce(tensor, reduce_op="mean")
        self._optimizer.step()

    def _training_batches(self) -> Iterator[Any]:
        while True:
            if self._stream is None:
                epoch, position = divmod(self._trained, len(self._training))
                self._training.load_state_dict({"epoch": epoch, "position": position})
                self._stream = iter(self._training)
            for batch in self._stream:
                self._trained += 1
                yield self.trainer.strategy.batch_to_device(batch)
            self._stream = None

    def state(self) -> dict[str, Any]:
        """The shifted weights, the optimizer, and how many batches were trained."""
        return {
            "weights": self.module.supernet.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "trained": self._trained,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on with shifted weights."""
        self.module.supernet.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._trained = state["trained"]
