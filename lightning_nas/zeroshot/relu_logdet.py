"""How differently the rectifiers of a network are set by different images."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.rectifiers import activation_codes


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
        return self.of_codes(activation_codes(network, images))

    @staticmethod
    def of_codes(codes: Tensor) -> float:
        """The score of given codes, N x A."""
        # Single precision counts exactly up to 2^24 rectifiers: so many that only the final sum could exceed them.
        on = codes.double()
        alike = on @ on.T + (1 - on) @ (1 - on).T
        return float(torch.linalg.slogdet(alike).logabsdet)
