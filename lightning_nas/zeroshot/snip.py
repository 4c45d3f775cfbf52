"""How much the loss depends on every connection."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator, loss_gradients, scored_weights, total


@dataclass(frozen=True)
class Snip(Estimator):
    """The sum of |gradient times weight|, which is the gradient in a mask of ones.

    Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019, Eq. 5.
    """

    title: ClassVar[str] = "snip"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The sum."""
        weights = scored_weights(network)
        gradients = loss_gradients(network, images, labels, weights)
        return total([(gradient * weight).abs() for gradient, weight in zip(gradients, weights, strict=True)])
