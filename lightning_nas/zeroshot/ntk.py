"""How evenly a network learns: the spectrum of its neural tangent kernel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.zeroshot.base import Estimator, scored_weights


@dataclass(frozen=True)
class NTK(Estimator):
    """Minus the condition number of the neural tangent kernel of the images.

    Chen et al., Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS), ICLR 2021, Eq. 3: the smaller the
    condition number, the easier a network is to train. It is -inf where gradients of images are linearly dependent.

    Attributes:
        images: How many of the images are looked at, at most; each costs a backward pass through all of them.

    Raises:
        NASError: Less than two images.
    """

    images: int = 50
    title: ClassVar[str] = "ntk"
    min_images: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.images < self.min_images:
            raise NASError(f"NTK.images is {self.images}: valid are numbers from {self.min_images}")

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """Minus the condition number."""
        return -condition_number(tangent_kernel(network, images[: self.images]))


def tangent_kernel(network: nn.Module, images: Tensor) -> Tensor:
    """Scalar products of the images' gradients of the sum of their logits: N x N, double.

    The network stays in its mode: in training mode batch-norm takes the statistics of all images, and the gradient of
    one of them goes through all others.
    """
    weights = scored_weights(network)
    sums = network(images).sum(1)
    gradients = [
        torch.autograd.grad(one, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        for one in sums
    ]
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for of_weight in zip(*gradients, strict=True):
        rows = torch.stack([gradient.flatten() for gradient in of_weight]).double()
        kernel += rows @ rows.T
    return kernel


def condition_number(kernel: Tensor) -> float:
    """The largest eigenvalue over the smallest; infinite where that is 0."""
    if not kernel.isfinite().all():
        return float("nan")
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    # Rounding makes of an eigenvalue of 0 something of this size, with either sign.
    rounding = largest * len(kernel) * torch.finfo(kernel.dtype).eps
    return largest / smallest if smallest > rounding else float("inf")
