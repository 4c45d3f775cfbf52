"""How differently a network responds to different images."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.zeroshot.base import Estimator


@dataclass(frozen=True)
class JacobCov(Estimator):
    """How far the input gradients of different images are from being alike: at most about -N for N images.

    With v the eigenvalues of their correlation matrix, minus the sum of log(v + k) + 1 / (v + k). Mellor et al., Neural
    Architecture Search without Training, arXiv 2006.04647v1, Eq. 4. It is NaN for a network whose gradient in some
    image is constant.

    Attributes:
        matrix: ``correlation`` as in released code, or ``covariance`` as Ning et al. write.
        k: Keeps the logarithm finite, above 0.

    Raises:
        NASError: k is not above 0.
    """

    matrix: Literal["correlation", "covariance"] = "correlation"
    k: float = 1e-5
    title: ClassVar[str] = "jacob_cov"
    min_images: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not self.k > 0:
            raise NASError(f"JacobCov.k is {self.k}: valid are numbers above 0")

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The score of the input gradients."""
        images = images.detach().clone().requires_grad_()
        logits = network(images)
        (jacobian,) = torch.autograd.grad(logits.sum(), images, allow_unused=True, materialize_grads=True)
        return self.of_jacobian(jacobian.flatten(1))

    def of_jacobian(self, rows: Tensor) -> float:
        """The score of given input gradients, N x D."""
        rows = rows.double()
        matrix = torch.corrcoef(rows) if self.matrix == "correlation" else torch.cov(rows)
        if not matrix.isfinite().all():
            return float("nan")
        # Rounding may make an eigenvalue of 0 slightly negative.
        eigenvalues = torch.linalg.eigvalsh(matrix).clamp(min=0) + self.k
        return -float((eigenvalues.log() + 1 / eigenvalues).sum())
