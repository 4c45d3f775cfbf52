"""The optimizer and the learning-rate schedule that supernets and stand-alone networks share."""

import math
from collections.abc import Callable
from typing import Any, Literal

from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch.optim.lr_scheduler import LambdaLR

from lightning_nas.errors import NASError

Schedule = Literal["cosine", "constant"]


def configure(
    module: LightningModule, optimizer: OptimizerCallable, schedule: Schedule, final_lr: float
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns.

    Args:
        module: Whose parameters are trained.
        optimizer: Makes the optimizer from the parameters.
        schedule: ``cosine`` anneals the rate at every optimizer step over the whole run (Loshchilov and
            Hutter, SGDR, ICLR 2017, Eq. 5, without restarts); ``constant`` leaves it.
        final_lr: Where the cosine ends.

    Raises:
        NASError: A cosine over a run without an end.
    """
    built = optimizer(module.parameters())
    if schedule == "constant":
        return {"optimizer": built}
    steps = module.trainer.estimated_stepping_batches
    if math.isinf(steps):
        raise NASError(
            "model.schedule is 'cosine', but the run has no end: set trainer.max_epochs or trainer.max_steps"
        )
    factors = [_cosine(int(steps), final_lr / group["lr"]) for group in built.param_groups]
    return {"optimizer": built, "lr_scheduler": {"scheduler": LambdaLR(built, factors), "interval": "step"}}


def _cosine(steps: int, final: float) -> Callable[[int], float]:
    """The factor of a step: from 1 to ``final`` in ``steps`` steps.

    A function of the step and the length of this run alone: torch's CosineAnnealingLR takes its length from
    the checkpoint, and lets the rate climb again in a run that is continued for longer.
    """
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2
