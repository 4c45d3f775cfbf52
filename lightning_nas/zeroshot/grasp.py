"""How much the gradient would shrink, if a weight vanished."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator, loss_gradients, scored_weights, total


@dataclass(frozen=True)
class Grasp(Estimator):
    """The sum of -(H g) times weight, with H the Hessian of the loss and g its gradient.

    Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow, ICLR 2020, Eq. 8, at
    temperature 1 and on one batch.
    """

    title: ClassVar[str] = "grasp"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The sum."""
        weights = scored_weights(network)
        gradients = loss_gradients(network, images, labels, weights, create_graph=True)
        # Its derivative is H g, where one of the two factors is held constant.
        product = sum((gradient.detach() * gradient).sum() for gradient in gradients)
        assert isinstance(product, Tensor)
        curvatures = torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
        return -total([curvature * weight for curvature, weight in zip(curvatures, weights, strict=True)])
