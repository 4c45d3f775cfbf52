"""Into how many linear pieces a network divides the images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.rectifiers import activation_codes


@dataclass(frozen=True)
class LinearRegions(Estimator):
    """The number of different settings of all rectifiers among the images.

    Chen et al., Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS), ICLR 2021, Eq. 5. No more than there
    are images: a network of usual width sets its rectifiers differently for each of them, so that all networks get the
    same number. The paper counts on networks of one channel and one cell per stage, with thousands of images.
    """

    title: ClassVar[str] = "linear_regions"
    min_images: ClassVar[int] = 2

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The number."""
        return float(len(activation_codes(network, images).unique(dim=0)))
