"""Loss and accuracy of many paths on the same images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric


@dataclass(frozen=True)
class Scores:
    """What a supernet says of P paths.

    Attributes:
        accuracy: Top-1 accuracy in percent, shape (P,).
        loss: Mean cross-entropy, shape (P,).
    """

    accuracy: NDArray[np.float64]
    loss: NDArray[np.float64]


class PathScores(Metric):
    """Adds up losses and hits of P paths over batches, on the device; each path on one rank.

    Nothing waits for the device before the sums are asked for.
    """

    full_state_update = False
    loss: Tensor
    hits: Tensor
    images: Tensor

    def __init__(self, num_paths: int) -> None:
        super().__init__()
        self.add_state("loss", torch.zeros(num_paths, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("hits", torch.zeros(num_paths, dtype=torch.int64), dist_reduce_fx="sum")
        # Every rank sees all images.
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    def update(self, outputs: Iterable[tuple[int, Tensor]], labels: Tensor) -> None:
        """Adds one batch.

        Args:
            outputs: Position of a path and its logits (N x classes), once for every path of this rank.
            labels: Classes of the images, shape (N,).
        """
        for position, logits in outputs:
            self.loss[position] += F.cross_entropy(logits.float(), labels, reduction="sum")
            self.hits[position] += (logits.argmax(1) == labels).sum()
        self.images += len(labels)

    def sums(self) -> dict[str, Tensor]:
        """The sums of this rank so far, on the CPU."""
        return {name: getattr(self, name).detach().cpu() for name in ("loss", "hits", "images")}

    def restore(self, sums: dict[str, Tensor]) -> None:
        """Goes on from earlier sums."""
        self.update((), torch.empty(0))  # or torchmetrics warns, if there is nothing left to do
        for name, value in sums.items():
            getattr(self, name).copy_(value)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Hits in percent and mean loss per path over all images so far, each of shape (P,)."""
        return 100 * self.hits.double() / self.images, self.loss / self.images

    def scores(self) -> Scores:
        """Accuracy and mean loss per path over all images so far."""
        accuracy, loss = self.compute()
        # torchmetrics makes a scalar of a vector of one path.
        return Scores(accuracy.cpu().numpy().reshape(-1), loss.cpu().numpy().reshape(-1))
