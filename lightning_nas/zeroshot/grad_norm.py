"""The size of the gradients at the beginning of training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator, loss_gradients, scored_weights


@dataclass(frozen=True)
class GradNorm(Estimator):
    """Euclidean norms of the loss gradients.

    Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, Sec. 3.1.

    Attributes:
        norm: ``layers`` adds up the norms of all layers (released code of Abdelfattah et al. and Ning et al.);
            ``global`` is the norm of all gradients at once.
    """

    norm: Literal["layers", "global"] = "layers"
    title: ClassVar[str] = "grad_norm"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The norm."""
        gradients = loss_gradients(network, images, labels, scored_weights(network))
        norms = torch.stack([gradient.double().norm() for gradient in gradients])
        return float(norms.sum() if self.norm == "layers" else norms.norm())
