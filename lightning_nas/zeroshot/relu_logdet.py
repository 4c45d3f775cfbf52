"""How differently the rectifiers of a network are set by different images."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.rectifiers import inputs_of_rectifiers


@dataclass(frozen=True)
class ReLULogDet(Estimator):
    """log |det K|, where K_ij is the number of rectifiers that images i and j set alike: NASWOT.

    Mellor et al., Neural Architecture Search without Training, ICML 2021, Eq. 2 and 3. It is -inf where two images set
    all rectifiers alike.
    """

    title: ClassVar[str] = "relu_logdet"
    min_images: ClassVar[int] = 2

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The logarithm of the determinant."""
        return self.of_codes(*(given > 0 for given in inputs_of_rectifiers(network, images)))

    @staticmethod
    def of_codes(*layers: Tensor) -> float:
        """The score of given codes: of every layer which rectifiers are on, N x ..., bool."""
        alike = torch.zeros(len(layers[0]), len(layers[0]), dtype=torch.float64, device=layers[0].device)
        for layer in layers:
            on = layer.flatten(1).float()  # counts exactly up to 2^24 rectifiers of a layer
            alike += on @ on.T + (1 - on) @ (1 - on).T
        # Of a singular matrix, an elimination leaves a small number as often as 0.
        eigenvalues = torch.linalg.eigvalsh(alike)
        rounding = eigenvalues[-1] * len(alike) * torch.finfo(alike.dtype).eps
        return float(eigenvalues.log().sum()) if eigenvalues[0] > rounding else -math.inf
