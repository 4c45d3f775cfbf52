"""What the training of a network alone may do beside the plain steps: mixing, drop path, an auxiliary head, averaging."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import CutMix, MixUp

from lightning_nas.errors import NASError
from lightning_nas.random import torch_seeded
from lightning_nas.spaces import RegularisedNetwork


@dataclass(frozen=True)
class Tricks:
    """Means of training that all are off by default.

    Attributes:
        mixup: Parameter of the beta distribution by which pairs of images and of their labels are mixed (Zhang et al.,
            mixup, ICLR 2018); 0 for none.
        cutmix: The same, where a rectangle of one image is put into the other (Yun et al., CutMix, ICCV 2019). Where
            both are given, a coin chooses for every batch.
        drop_path: Probability, at the end of training, with which what an operation makes of an image is dropped, and
            that of others scaled up. It rises in a line from 0, epoch by epoch (Larsson et al., FractalNet, 2017; Liu et
            al., DARTS, 2019, App. A.2, and released code).
        auxiliary: Weight of the loss of an auxiliary head (DARTS, ibid.); 0 for none.
        ema: Decay, per step, of an exponential moving average of the weights, which is what is scored and kept; 0 for
            none.

    Raises:
        NASError: A number is out of range.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix", "auxiliary"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise NASError(f"tricks.{name} is {getattr(self, name)}: valid are numbers from 0")
        for name in ("drop_path", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise NASError(f"tricks.{name} is {getattr(self, name)}: valid are numbers from 0 to below 1")


NO_TRICKS = Tricks()


def regularised(network: nn.Module, trick: str) -> RegularisedNetwork:
    """A network that can be trained with drop path and an auxiliary head.

    Args:
        network: The network.
        trick: Which of them is asked.

    Raises:
        NASError: It cannot.
    """
    if not isinstance(network, RegularisedNetwork):
        raise NASError(
            f"tricks.{trick} is not 0, but the networks of this space have none ({type(network).__name__}): valid is 0, or "
            "the space DARTS"
        )
    return network


def mix(
    images: Tensor, labels: Tensor, num_classes: int, tricks: Tricks, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mixes every image of a batch with the one before it.

    Args:
        images: N x C x H x W.
        labels: Classes, int64, N.
        num_classes: Number of classes.
        tricks: Of which ``mixup`` or ``cutmix`` is above 0.
        rng: Source of the draws.

    Returns:
        The mixed images, and probabilities of the classes, float32, N x classes.
    """
    kinds = [(kind, alpha) for kind, alpha in ((MixUp, tricks.mixup), (CutMix, tricks.cutmix)) if alpha]
    kind, alpha = kinds[rng.integers(len(kinds))]
    with torch_seeded(int(rng.integers(2**63))):
        mixed, targets = kind(alpha=alpha, num_classes=num_classes)(images, labels)
    return mixed, targets


class DropPath:
    """Drops what the operations of a network make of single images while it is trained.

    Args:
        network: Says which operations.
    """

    def __init__(self, network: RegularisedNetwork) -> None:
        self._operations = len(network.droppable)
        self._factors: Tensor | None = None
        for number, operation in enumerate(network.droppable):
            operation.register_forward_hook(partial(self._scale, number))

    def draw(self, probability: float, images: Tensor, rng: np.random.Generator) -> None:
        """Draws what the next forward pass of training drops.

        Args:
            probability: Of every operation and image, in [0, 1).
            images: What the network will be given, N x C x H x W.
            rng: Source of the draws.
        """
        kept = rng.random((self._operations, len(images), 1, 1, 1)) >= probability
        self._factors = torch.from_numpy(kept / (1 - probability)).to(images)

    def _scale(self, number: int, operation: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if self._factors is None or not operation.training:
            return output
        return output * self._factors[number].to(output.dtype)


class AuxiliaryHead(nn.Module):
    """Classifies what a layer within a network made of the images of the last forward pass of training.

    Args:
        network: Says which layer, and builds the head.
    """

    def __init__(self, network: RegularisedNetwork) -> None:
        super().__init__()
        self.head = network.auxiliary_head()
        self._seen: Tensor | None = None
        network.auxiliary_input.register_forward_hook(self._see)

    def _see(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen = output if layer.training else None

    def forward(self) -> Tensor:
        """Logits (N x classes) for the images that the network has just seen."""
        seen, self._seen = self._seen, None
        logits: Tensor = self.head(seen)
        return logits
