"""Building blocks that several spaces share."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.spaces import cost
from lightning_nas.spaces.cost import Cost


@dataclass(frozen=True)
class NormPolicy:
    """How batch-norm layers are built.

    In a supernet the layers serve many paths at once, so the default neither learns a scale nor keeps running
    statistics: evaluation uses those of the batch (Lu et al., PA&DA, CVPR 2023, released code; Ning et al.,
    Evaluating Efficient Performance Estimators, NeurIPS 2021, App. A). Scores then belong to a path *and* the
    evaluation batches.

    Attributes:
        affine: Learn a scale and a shift.
        running_stats: Keep running statistics for evaluation.
    """

    affine: bool = False
    running_stats: bool = False

    def layer(self, channels: int) -> nn.BatchNorm2d:
        """A batch-norm layer under this policy."""
        return nn.BatchNorm2d(channels, affine=self.affine, track_running_stats=self.running_stats)


SHARED = NormPolicy()
STANDALONE = NormPolicy(affine=True, running_stats=True)


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, norm: NormPolicy, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, and its batch-norm; the image keeps its size, divided by the stride."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, norm.layer(out_channels))


def _strided(layer: nn.Module, x: Tensor, stride: int) -> Tensor:
    """A ``conv_norm``, run at another stride than it was built with."""
    conv, norm = cast(nn.Sequential, layer)
    assert isinstance(conv, nn.Conv2d)
    return cast(Tensor, norm(F.conv2d(x, conv.weight, conv.bias, stride=stride, padding=conv.padding)))


def _shortcut_layers(in_channels: int, out_channels: int, norm: NormPolicy) -> nn.Module:
    same = in_channels == out_channels
    return nn.Identity() if same else conv_norm(in_channels, out_channels, 1, norm)


class _Residual(nn.Module):
    """What residual blocks have in common: the shortcut, and a stride that is chosen at every call.

    The shortcut takes every ``stride``-th pixel, through a 1x1 convolution with batch-norm where the width
    changes.
    """

    expansion: int
    shortcut: nn.Module

    def _shortcut(self, x: Tensor, stride: int) -> Tensor:
        if isinstance(self.shortcut, nn.Identity):
            return x[:, :, ::stride, ::stride]
        return _strided(self.shortcut, x, stride)

    @staticmethod
    def _shortcut_cost(in_channels: int, out_channels: int, size: int) -> Cost:
        if in_channels == out_channels:
            return Cost(0, 0)
        return cost.convolution(in_channels, out_channels, kernel=1, size=size) + cost.batch_norm(
            out_channels
        )


class BasicBlock(_Residual):
    """The residual block of two 3x3 convolutions (He et al., Deep Residual Learning, 2015, Sec. 4.2)."""

    expansion = 1

    def __init__(self, in_channels: int, out_channels: int, norm: NormPolicy) -> None:
        super().__init__()
        # The order decides which random numbers the weights get, and with them all published results.
        self.first = conv_norm(in_channels, out_channels, 3, norm)
        self.second = conv_norm(out_channels, out_channels, 3, norm)
        self.shortcut = _shortcut_layers(in_channels, out_channels, norm)

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        """Maps N x in x H x W to N x out x H/stride x W/stride."""
        y: Tensor = self.second(_strided(self.first, x, stride).relu()) + self._shortcut(x, stride)
        return y.relu()

    @classmethod
    def cost(cls, in_channels: int, out_channels: int, size: int, stride: int = 1) -> Cost:
        """Exact parameters and multiply-adds for images of ``size`` x ``size``."""
        out = -(-size // stride)
        return (
            cost.convolution(in_channels, out_channels, kernel=3, size=out)
            + cost.batch_norm(out_channels)
            + cost.convolution(out_channels, out_channels, kernel=3, size=out)
            + cost.batch_norm(out_channels)
            + cls._shortcut_cost(in_channels, out_channels, out)
        )


class Bottleneck(_Residual):
    """The residual block of ResNet-50: 1x1, 3x3 and 1x1 convolutions (He et al., 2015, Sec. 4.1).

    The 3x3 convolution is the strided one, as in torchvision's networks.
    """

    expansion = 4

    def __init__(self, in_channels: int, out_channels: int, norm: NormPolicy) -> None:
        super().__init__()
        inner = out_channels // self.expansion
        self.reduce = conv_norm(in_channels, inner, 1, norm)
        self.filter = conv_norm(inner, inner, 3, norm)
        self.expand = conv_norm(inner, out_channels, 1, norm)
        self.shortcut = _shortcut_layers(in_channels, out_channels, norm)

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        """Maps N x in x H x W to N x out x H/stride x W/stride."""
        inner = _strided(self.filter, self.reduce(x).relu(), stride).relu()
        y: Tensor = self.expand(inner) + self._shortcut(x, stride)
        return y.relu()

    @classmethod
    def cost(cls, in_channels: int, out_channels: int, size: int, stride: int = 1) -> Cost:
        """Exact parameters and multiply-adds for images of ``size`` x ``size``."""
        inner, out = out_channels // cls.expansion, -(-size // stride)
        return (
            cost.convolution(in_channels, inner, kernel=1, size=size)
            + cost.batch_norm(inner)
            + cost.convolution(inner, inner, kernel=3, size=out)
            + cost.batch_norm(inner)
            + cost.convolution(inner, out_channels, kernel=1, size=out)
            + cost.batch_norm(out_channels)
            + cls._shortcut_cost(in_channels, out_channels, out)
        )


class InvertedResidual(nn.Module):
    """The block of MobileNetV2 (Sandler et al., 2018, Sec. 3.3), with ReLU unless ReLU6 is asked for.

    Expands the channels, filters each by itself, and projects them; the input is added where shapes agree.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        expansion: int,
        stride: int,
        norm: NormPolicy,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = conv_norm(in_channels, inner, 1, norm)
        self.filter = conv_norm(inner, inner, kernel, norm, stride, groups=inner)
        self.project = conv_norm(inner, out_channels, 1, norm)
        self.activation = activation()
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H/stride x W/stride."""
        y = self.activation(self.expand(x))
        y = self.activation(self.filter(y))
        y = self.project(y)
        return cast(Tensor, x + y if self.residual else y)

    @staticmethod
    def cost(
        in_channels: int, out_channels: int, kernel: int, expansion: int, size: int, stride: int
    ) -> Cost:
        """Exact parameters and multiply-adds for images of ``size`` x ``size``."""
        inner, out = in_channels * expansion, -(-size // stride)
        return (
            cost.convolution(in_channels, inner, kernel=1, size=size)
            + cost.batch_norm(inner)
            + cost.convolution(inner, inner, kernel=kernel, size=out, groups=inner)
            + cost.batch_norm(inner)
            + cost.convolution(inner, out_channels, kernel=1, size=out)
            + cost.batch_norm(out_channels)
        )
