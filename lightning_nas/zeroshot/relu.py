"""How many rectifiers stand in a network."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.rectifiers import inputs_of_rectifiers


@dataclass(frozen=True)
class ReLU(Estimator):
    """The number of ReLUs that one forward pass runs.

    Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021: what is left of
    ``relu_logdet`` without images.
    """

    title: ClassVar[str] = "relu"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The number; of the images only their size matters."""
        return float(len(inputs_of_rectifiers(network, images[:2])))
