"""How much signal flows from the input through every weight to the output."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.zeroshot.base import Estimator, scored_weights, total


@dataclass(frozen=True)
class SynFlow(Estimator):
    """The sum of |weight times dR/dweight|, with R the sum of the logits of one image of ones.

    All weights are made positive and batch-norm is left out. Tanaka et al., Pruning neural networks without any data by
    iteratively conserving synaptic flow, NeurIPS 2020, Eq. 2, in double precision: values reach 1e50 on NAS-Bench-201.

    Attributes:
        batch_norm: Keep batch-norm, as one configuration of Ning et al. does. There are then two images of ones: a
            single one has no statistics where it has shrunk to a pixel.
    """

    batch_norm: bool = False
    title: ClassVar[str] = "synflow"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The sum; of the images only their size matters."""
        positive = copy.deepcopy(network).double()
        if not self.batch_norm:
            _leave_out_batch_norm(positive)
        with torch.no_grad():
            for tensor in (*positive.parameters(), *positive.buffers()):
                tensor.abs_()
        weights = scored_weights(positive)
        shape = (2 if self.batch_norm else 1, *images.shape[1:])
        logits = positive(torch.ones(shape, dtype=torch.float64, device=images.device))[:1]
        flows = torch.autograd.grad(logits.sum(), weights, allow_unused=True, materialize_grads=True)
        return total([(flow * weight).abs() for flow, weight in zip(flows, weights, strict=True)])


def _leave_out_batch_norm(network: nn.Module) -> None:
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, _BatchNorm):
            network.set_submodule(name, nn.Identity())
