"""Running statistics for networks that have none of their own.

Batch-norm of a supernet uses those of the batch, or statistics that mix all paths. A network that is shipped must
answer an image alone as it does in a batch, so its statistics are measured on training images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.evaluation import measure
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a network."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def needs_images(network: nn.Module) -> bool:
    """Whether the answer of a network in evaluation mode depends on the other images of a batch."""
    return not all(layer.track_running_stats for layer in batch_norms(network))


def with_statistics(
    space: SearchSpace, path: Architecture, trained: nn.Module, batches: Sequence[Tensor]
) -> nn.Module:
    """The network of ``path`` with the weights of a trained one, and statistics of its own.

    Where the trained one has no scale and shift, they are 1 and 0.

    Args:
        space: Where the path is from.
        path: The architecture.
        trained: Its network, with any batch-norm; it stays as it is.
        batches: Normalised images (N x C x H x W) of the training split, not augmented. None are needed where there is
            no batch-norm.

    Returns:
        A network in evaluation mode.
    """
    network = space.build_standalone(path)
    network.load_state_dict(network.state_dict() | trained.state_dict())
    measure(batch_norms(network.eval()), network, batches)
    return network


def equal_batches(images: Tensor, size: int) -> tuple[Tensor, ...]:
    """Images in batches of at most ``size``, whose sizes differ by at most one: so all weigh alike in a mean."""
    return torch.tensor_split(images, -(-len(images) // size))
