"""What must hold in every space."""

import torch
from torch import Tensor

from lightning_nas.spaces import NormPolicy, Path, SearchSpace

NORMS = [NormPolicy(), NormPolicy(affine=True, running_stats=True)]


def check_extracted_networks(
    space: SearchSpace, paths: list[Path], norm: NormPolicy, training: bool, x: Tensor
) -> None:
    """Every extracted network equals its path of the supernet, bitwise, and has its mode."""
    torch.manual_seed(0)
    supernet = space.build_supernet(norm=norm)
    supernet(x, paths[0])  # moves running statistics away from their initial values
    supernet.train(training)
    for path in paths:
        network = supernet.extract(path)
        assert network.training == training
        buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        assert torch.equal(network(x), supernet(x, path))
        for name, buffer in supernet.named_buffers():
            buffer.copy_(buffers[name])
