"""A search space of one's own: the kernel of every convolution of a small network."""

from dataclasses import dataclass

from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import Cost, LayerwiseSpace, NormPolicy, Path, cost
from lightning_nas.spaces.operations import conv_norm

KERNELS = (1, 3, 5)


@dataclass(frozen=True)
class KernelSizes(LayerwiseSpace):
    """Four convolutions with kernels of 1, 3 or 5 pixels, written one after the other, such as ``1353``."""

    width: int = 8
    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Three kernels for each of four convolutions."""
        return (len(KERNELS),) * 4

    def encode(self, path: Path) -> str:
        """The kernels."""
        return "".join(str(KERNELS[choice]) for choice in path)

    def decode(self, text: str) -> Path:
        """The path of a text such as ``1353``."""
        for path in self:
            if self.encode(path) == text:
                return path
        raise NASError(f"architecture {text!r} is not in the space: valid are four kernels of 1, 3 or 5")

    def cost(self, path: Path) -> Cost:
        """Exact parameters and multiply-adds."""
        total = cost.convolution(self.in_channels, self.width, kernel=1, size=self.image_size)
        for kernel in map(KERNELS.__getitem__, path):
            total += cost.convolution(self.width, self.width, kernel=kernel, size=self.image_size)
            total += cost.batch_norm(self.width)
        return total + cost.linear(self.width, self.num_classes)

    def stem(self, norm: NormPolicy) -> nn.Module:
        """From the channels of the images to the width."""
        return nn.Conv2d(self.in_channels, self.width, 1, bias=False)

    def layer(self, decision: int, choice: int, norm: NormPolicy) -> nn.Module:
        """A convolution with one of the kernels."""
        return conv_norm(self.width, self.width, KERNELS[choice], norm).append(nn.ReLU())

    def head(self, norm: NormPolicy) -> nn.Module:
        """The classifier."""
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.width, self.num_classes))
