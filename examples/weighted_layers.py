"""An estimator of one's own: deeper networks are better."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.zeroshot import Estimator
from lightning_nas.zeroshot.base import Calls


@dataclass(frozen=True)
class WeightedLayers(Estimator):
    """The number of convolutions and linear layers that one forward pass runs."""

    kernel: int = 1
    """Counts convolutions with at least so many pixels along a side."""

    title: ClassVar[str] = "weighted_layers"

    @torch.no_grad()
    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        with Calls(frozenset({torch.conv2d, F.linear})) as layers:
            network(images[:2])
        weights = [args[1] for args, _ in layers.seen]
        return float(sum(weight.ndim == 2 or weight.shape[-1] >= self.kernel for weight in weights))
