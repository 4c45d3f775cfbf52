"""The stages and residual blocks of NDS networks as shapes, with what they cost."""

import math
from typing import NamedTuple

from torch import nn

from lightning_nas.spaces import cost
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.operations import NormPolicy, conv_norm

WIDTH = 1
"""The position of the width among the choices of a stage."""


class Stage(NamedTuple):
    """The sizes of a stage.

    Attributes:
        depth: Blocks.
        width: Channels between blocks.
        inner: Channels within a bottleneck.
        groups: Groups of the convolution within a bottleneck.
    """

    depth: int
    width: int
    inner: int
    groups: int


class Channels(NamedTuple):
    """Channels at one place of the network.

    Attributes:
        number: How many of them.
        stage: The stage whose output they are, and which says which ones; None if they are always the first.
    """

    number: int
    stage: int | None = None


class Conv(NamedTuple):
    """The shape of a convolution that is followed by a batch-norm."""

    inputs: Channels
    outputs: Channels
    kernel: int
    stride: int = 1
    groups: int = 1

    def build(self, norm: NormPolicy) -> nn.Sequential:
        """The layers of this shape."""
        return conv_norm(self.inputs.number, self.outputs.number, self.kernel, norm, self.stride, self.groups)

    def cost(self, size: int) -> Cost:
        """Parameters and multiply-adds for an output of ``size`` x ``size``."""
        inputs, outputs = self.inputs.number, self.outputs.number
        conv = cost.convolution(inputs, outputs, kernel=self.kernel, size=size, groups=self.groups)
        return conv + cost.batch_norm(outputs)


class Block(NamedTuple):
    """The shape of a residual block.

    Attributes:
        stage: The stage it stands in, from 0.
        number: Its position there, from 0.
        branch: Its convolutions, without the shortcut.
    """

    stage: int
    number: int
    branch: tuple[Conv, ...]

    @property
    def name(self) -> str:
        """Its name among the blocks of a network."""
        return f"{self.stage}-{self.number}"

    @property
    def outputs(self) -> Channels:
        """The channels after it."""
        return self.branch[-1].outputs

    @property
    def shortcut(self) -> Conv:
        """The 1x1 convolution beside the branch."""
        stride = math.prod(conv.stride for conv in self.branch)
        return Conv(self.branch[0].inputs, self.outputs, kernel=1, stride=stride)

    @property
    def projects(self) -> bool:
        """Whether the shortcut is needed, because the branch changes the shape."""
        inputs, outputs, _, stride, _ = self.shortcut
        return inputs.number != outputs.number or stride != 1

    def cost(self, size: int) -> Cost:
        """Parameters and multiply-adds for an input of ``size`` x ``size``."""
        total = Cost(0, 0)
        for conv in self.branch:
            size = -(-size // conv.stride)
            total += conv.cost(size)
        return total + self.shortcut.cost(size) if self.projects else total
