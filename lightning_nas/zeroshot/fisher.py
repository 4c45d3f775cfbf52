"""How much the loss depends on every channel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.zeroshot.base import Calls, Estimator

LAYERS = frozenset({torch.conv2d, F.linear})


@dataclass(frozen=True)
class Fisher(Estimator):
    """Half the mean square over the batch of activation times gradient, added up over channels.

    Of the outputs of all convolutions and linear layers, before batch-norm; activation times gradient is first added
    up over the places of a channel. Turner et al., BlockSwap, ICLR 2020, Eq. 3, as used by Abdelfattah et al., ICLR 2021.

    Attributes:
        broadcast: Count a channel once for each of its weights, as the released code of Abdelfattah et al. and
            Ning et al. does.
    """

    broadcast: bool = False
    title: ClassVar[str] = "fisher"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The sum over channels."""
        with Calls(LAYERS) as layers:
            loss = F.cross_entropy(network(images), labels)
        if not layers.seen:
            raise NASError(
                f"{type(network).__name__} has neither convolutions nor linear layers to be scored"
            )
        outputs = [result for _, result in layers.seen]
        gradients = torch.autograd.grad(loss, outputs, allow_unused=True, materialize_grads=True)
        found = 0.0
        for ((_, weight, *_), output), gradient in zip(layers.seen, gradients, strict=True):
            channels = _by_channel((output * gradient).detach().double(), weight).square().mean(0) / 2
            found += float(channels.sum()) * (weight[0].numel() if self.broadcast else 1)
        return found


def _by_channel(product: Tensor, weight: Tensor) -> Tensor:
    """Adds up places: N x C x H x W of a convolution, or N x ... x C of a linear layer, becomes N x C."""
    if weight.ndim == 4:
        return product.sum((2, 3))
    return product.reshape(len(product), -1, product.shape[-1]).sum(1)
