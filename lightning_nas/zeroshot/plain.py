"""What the loss would change to first order, if a weight vanished."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator, loss_gradients, scored_weights, total


@dataclass(frozen=True)
class Plain(Estimator):
    """The sum of gradient times weight, with its sign.

    Mozer and Smolensky, Skeletonization, NIPS 1989, as used by Abdelfattah et al., ICLR 2021. It is close to 0 for
    layers that batch-norm follows, which undoes a change of their scale.
    """

    title: ClassVar[str] = "plain"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The sum."""
        weights = scored_weights(network)
        gradients = loss_gradients(network, images, labels, weights)
        return total([gradient * weight for gradient, weight in zip(gradients, weights, strict=True)])
