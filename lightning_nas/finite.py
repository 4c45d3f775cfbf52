"""Losses and weights that are not finite end a training, on all ranks after the same step."""

import math

import torch
from lightning import LightningModule
from torch import distributed

from lightning_nas.errors import NASError

REMEDY = "lower the learning rate (model.optimizer) or clip gradients (trainer.gradient_clip_val)"


def require_finite_loss(module: LightningModule, loss: float, path: str = "") -> None:
    """Ends the training on all ranks where the loss of one of them is not finite.

    All ranks call it at the same steps, those that are looked at anyway: the ranks exchange a number there, and nothing in
    between. In between no rank stops alone, for the exchange of gradients has given NaN to all of them.

    Args:
        module: Is trained.
        loss: Of this rank.
        path: What the step trained, in words.

    Raises:
        NASError: It is not finite on some rank; the same error on all of them.
    """
    trainer = module.trainer
    losses = [torch.tensor(loss, device=module.device)]
    if trainer.world_size > 1:
        losses = [torch.empty_like(losses[0]) for _ in range(trainer.world_size)]
        distributed.all_gather(losses, torch.tensor(loss, device=module.device))
    for rank, value in enumerate(map(float, losses)):
        if not math.isfinite(value):
            where = f" on rank {rank}" if trainer.world_size > 1 else ""
            raise NASError(f"train/loss is {value}{where} at step {trainer.global_step}{path}: {REMEDY}")


def require_finite_weights(module: LightningModule) -> None:
    """Ends the training where weights are not finite, of which the last loss need not tell: they are those after it.

    Args:
        module: Is trained; its weights are the same on all ranks.

    Raises:
        NASError: One is not finite.
    """
    finite = [weight.detach().isfinite().all() for weight in module.parameters()]
    if not bool(torch.stack(finite).all()):
        raise NASError(f"weights are not finite after step {module.trainer.global_step}: {REMEDY}")
