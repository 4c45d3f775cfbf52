"""The optimizer and the learning-rate schedule that supernets and stand-alone networks share."""

import math
from typing import Any, Literal

from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch.optim.lr_scheduler import CosineAnnealingLR

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
    cosine = CosineAnnealingLR(built, T_max=max(1, int(steps)), eta_min=final_lr)
    return {"optimizer": built, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
