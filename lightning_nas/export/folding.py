"""Batch-norm folded into convolutions: the same function in fewer steps."""

import copy
import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy whose convolutions do the work of the batch-norm behind them.

    A batch-norm is folded where it follows a convolution directly in an ``nn.Sequential``. Others stay: those of
    pooled or concatenated features, for example.

    Args:
        network: In evaluation mode, its batch-norm with running statistics.
    """
    network = copy.deepcopy(network)
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for first, second in itertools.pairwise(range(len(layers))):
            conv, norm = layers[first], layers[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[first], layers[second] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network
