"""Exact parameters and multiply-adds of layers, added up without running them.

Multiply-adds count convolutions and linear layers only; batch-norm, activations, pooling and additions count
as zero, the convention of the field's tables.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one architecture costs.

    Attributes:
        params: Trainable scalars of the stand-alone network.
        macs: Multiply-adds of one forward pass of one image.

    Example:
        >>> convolution(3, 16, kernel=3, size=32) + batch_norm(16)
        Cost(params=464, macs=442368)
    """

    params: int
    macs: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.macs + other.macs)


def convolution(in_channels: int, out_channels: int, *, kernel: int, size: int, groups: int = 1) -> Cost:
    """A square convolution without bias whose output is ``size`` x ``size``."""
    weights = in_channels // groups * out_channels * kernel**2
    return Cost(weights, weights * size**2)


def batch_norm(channels: int) -> Cost:
    """A batch-norm with scale and shift."""
    return Cost(2 * channels, 0)


def linear(in_features: int, out_features: int) -> Cost:
    """A linear layer with bias; the bias costs no multiply-add."""
    return Cost((in_features + 1) * out_features, in_features * out_features)
