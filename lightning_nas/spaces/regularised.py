"""Networks that can be trained alone with drop path and an auxiliary head."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces.operations import STANDALONE, conv_norm


class RegularisedNetwork(nn.Module, ABC):
    """The network of one path that says where drop path and an auxiliary head go.

    Both belong to training, not to the network: it has the same weights and gives the same answers without them.
    """

    @property
    @abstractmethod
    def droppable(self) -> Sequence[nn.Module]:
        """Modules whose output (N x C x H x W) may be dropped for single images; each runs once."""

    @property
    @abstractmethod
    def auxiliary_input(self) -> nn.Module:
        """The module whose output the auxiliary head classifies."""

    @abstractmethod
    def auxiliary_head(self) -> nn.Module:
        """A fresh auxiliary head: from the output of ``auxiliary_input`` to logits (N x classes).

        Raises:
            NASError: The images are too small for one.
        """


def auxiliary_head(channels: int, size: int, num_classes: int) -> nn.Module:
    """The auxiliary head of DARTS (Liu et al., ICLR 2019, App. A.2, and released code).

    It averages four overlapping windows, at the published 8 x 8 pixels of 5 x 5, and classifies them by two convolutions
    and a linear layer.

    Args:
        channels: Of the input.
        size: Pixels along a side of the input, at least 3.
        num_classes: Outputs.

    Raises:
        NASError: The input is too small.

    Example:
        >>> sum(parameter.numel() for parameter in auxiliary_head(576, 8, 10).parameters())
        476426
    """
    if size < 3:
        raise NASError(
            f"tricks.auxiliary is not 0, but the auxiliary head would see {size}x{size} pixels and needs 3x3: valid is 0, "
            "or larger images"
        )
    window = size // 2 + 1
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(window, stride=size - window),
        conv_norm(channels, 128, 1, STANDALONE),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        STANDALONE.layer(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )
