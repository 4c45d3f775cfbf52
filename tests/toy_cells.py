"""The toy space with mixtures: what learns architectures can be tested on it in a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from toy_space import Toy, ToySupernet

from lightning_nas.spaces import CellSupernet, NormPolicy


@dataclass(frozen=True)
class ToyCells(Toy):
    """The same paths."""

    def _supernet(self, norm: NormPolicy) -> "ToyCellSupernet":
        return ToyCellSupernet(self, norm)


class ToyCellSupernet(ToySupernet, CellSupernet):
    """Choices of weight 0 do not run, and take part in no gradient."""

    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        x = torch.as_tensor(self.stem(x))
        for layer, (nothing, *linear) in zip(self.choices, weights, strict=True):
            maps = zip(cast(nn.ModuleList, layer), linear, strict=True)
            terms = [weight * module(x) for module, weight in maps if float(weight.detach())]
            x = sum(terms, nothing * x if float(nothing.detach()) else torch.zeros_like(x))
        return torch.as_tensor(self.head(x))
