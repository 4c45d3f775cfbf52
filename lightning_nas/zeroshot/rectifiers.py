"""Which rectifiers of a network are on for which image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.zeroshot.base import Calls

RECTIFIERS = frozenset(
    {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu, F.relu_, F.relu6, F.hardtanh}
)
"""All ways of calling one; a module such as ``nn.ReLU`` calls one of these, and ``nn.ReLU6`` calls ``hardtanh``."""


@torch.no_grad()
def inputs_of_rectifiers(network: nn.Module, images: Tensor) -> list[Tensor]:
    """What every ReLU is given in one forward pass.

    Raises:
        NASError: The network has none.
    """
    with Calls(RECTIFIERS) as calls:
        network(images)
    if not calls.seen:
        raise NASError(f"{type(network).__name__} has no ReLU, on which this estimator rests")
    return [args[0] for args, _ in calls.seen]


def activation_codes(network: nn.Module, images: Tensor) -> Tensor:
    """For every image, which rectifiers are on: N x A, bool.

    Raises:
        NASError: The network has none.
    """
    return torch.cat([(given > 0).flatten(1) for given in inputs_of_rectifiers(network, images)], dim=1)
