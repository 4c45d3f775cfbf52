"""A supernet that runs all its operations at once, which is how a part of a space is looked at as one network."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.schedule import configure_like
from lightning_nas.spaces import CellSupernet, Supernet
from lightning_nas.spaces.base import Choices


class Mixture(nn.Module):
    """The mean of the choices that are left at every decision, as a network: its weights are those of the supernet.

    Args:
        supernet: Whose operations are mixed.
        choices: For every decision, those that are left.

    Raises:
        NASError: The supernet runs one path at a time.
    """

    def __init__(self, supernet: Supernet, choices: Choices) -> None:
        super().__init__()
        if not isinstance(supernet, CellSupernet):
            raise NASError(
                f"{type(supernet).__name__} cannot run a mixture of its choices, which this metric looks at: valid are the "
                "metrics ParameterCount, RandomSplit and EveryChoice"
            )
        self.supernet = supernet
        like = next(supernet.parameters())
        numbers = supernet.space.num_choices
        for decision, (kept, number) in enumerate(zip(choices, numbers, strict=True)):
            share = torch.zeros(number, dtype=like.dtype, device=like.device)
            share[list(kept)] = 1 / len(kept)
            # Buffers, because what looks at a network may ask for another precision.
            self.register_buffer(f"share_{decision}", share, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N x classes) for images ``x`` (N x C x H x W)."""
        shares = [self.get_buffer(f"share_{i}") for i in range(len(self.supernet.space.num_choices))]
        logits: Tensor = self.supernet.forward_mixture(x, shares)
        return logits


class MixtureModule(LightningModule):
    """Trains all operations of a space jointly, in equal shares, as Ly-Manson et al. do before they split (App. A.2).

    Args:
        module: The supernet, with the optimizer, the schedule and the smoothing of labels.

    Raises:
        NASError: The supernet runs one path at a time.
    """

    def __init__(self, module: SupernetModule) -> None:
        super().__init__()
        self.mixture = Mixture(module.supernet, module.space.choices)
        self.label_smoothing = module.label_smoothing
        self._configure = configure_like(module)

    def configure_optimizers(self) -> Any:
        """Those of the supernet."""
        return self._configure(self)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The cross-entropy of the mixture."""
        images, labels, *_ = batch
        return F.cross_entropy(self.mixture(images), labels, label_smoothing=self.label_smoothing)
