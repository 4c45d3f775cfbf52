"""Building blocks that several spaces share."""

from dataclasses import dataclass

from torch import Tensor, nn


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


class BasicBlock(nn.Module):
    """The residual block of ResNet-20 at stride 1 (He et al., Deep Residual Learning, 2015, Sec. 4.2).

    The shortcut is the identity, or a 1x1 convolution with batch-norm where the width changes.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormPolicy) -> None:
        super().__init__()
        self.first = conv_norm(in_channels, out_channels, 3, norm)
        self.second = conv_norm(out_channels, out_channels, 3, norm)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H x W."""
        y: Tensor = self.second(self.first(x).relu()) + self.shortcut(x)
        return y.relu()


class InvertedResidual(nn.Module):
    """The block of MobileNetV2 (Sandler et al., 2018, Sec. 3.3), with ReLU in place of ReLU6.

    Expands the channels, filters each by itself, and projects them; the input is added where shapes agree.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, expansion: int, stride: int, norm: NormPolicy
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = conv_norm(in_channels, inner, 1, norm)
        self.filter = conv_norm(inner, inner, kernel, norm, stride, groups=inner)
        self.project = conv_norm(inner, out_channels, 1, norm)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps N x in x H x W to N x out x H/stride x W/stride."""
        y: Tensor = self.project(self.filter(self.expand(x).relu()).relu())
        return x + y if self.residual else y
