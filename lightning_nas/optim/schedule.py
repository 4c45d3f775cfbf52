"""The optimizer and the learning-rate schedule that supernets and stand-alone networks share."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_nas.errors import NASError

Schedule = Literal["cosine", "cosine_epochs", "linear", "constant"]
Decay = Literal["all", "weights"]


def configure(
    module: LightningModule,
    optimizer: OptimizerCallable,
    schedule: Schedule,
    final_lr: float,
    decay: Decay = "all",
    warmup_epochs: int = 0,
    trained: nn.Module | None = None,
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns.

    Args:
        module: Whose parameters are trained.
        optimizer: Makes the optimizer from the parameters.
        schedule: ``cosine`` anneals the rate at every optimizer step over the whole run (Loshchilov and
            Hutter, SGDR, ICLR 2017, Eq. 5, without restarts), ``cosine_epochs`` only after every epoch (as
            PA&DA's released code does), ``linear`` falls in a line; ``constant`` leaves it.
        final_lr: Where they end.
        decay: What the optimizer's weight decay applies to: ``all``, or ``weights``: not to biases and the scales and
            shifts of batch-norm (Guo et al., Single Path One-Shot NAS, released code).
        warmup_epochs: Epochs at the beginning in which the rate rises in a line to the optimizer's, before the schedule
            takes the rest of the run (Goyal et al., Accurate, Large Minibatch SGD, 2017, Sec. 2.2).
        trained: The part of the module that the optimizer trains; None is all of it.

    Raises:
        NASError: A schedule over a run without an end, or one that the warm-up fills.
    """
    part = module if trained is None else trained
    built = optimizer(part.parameters() if decay == "all" else decay_groups(part))
    if schedule == "constant" and not warmup_epochs:
        return {"optimizer": built}
    interval = "epoch" if schedule == "cosine_epochs" else "step"
    length = _epochs(module.trainer) if interval == "epoch" else module.trainer.estimated_stepping_batches
    if math.isinf(length) and schedule != "constant":
        raise NASError(
            f"model.schedule is {schedule!r}, but the run has no end: set trainer.max_epochs"
            + (" or trainer.max_steps" if interval == "step" else "")
        )
    warmup = warmup_epochs
    if warmup_epochs and interval == "step":
        warmup *= _steps_per_epoch(module.trainer)
    if warmup and not 0 < warmup < length:
        raise NASError(
            f"model.warmup_epochs is {warmup_epochs}: valid are numbers from 0 that are less than the whole run"
        )
    factors = [
        _annealed(SHAPES[schedule], length, final_lr / group["lr"], warmup) for group in built.param_groups
    ]
    return {"optimizer": built, "lr_scheduler": {"scheduler": LambdaLR(built, factors), "interval": interval}}


class Configured(Protocol):
    """A module that says how weights are trained, as the command line does under ``model``; see ``configure``."""

    optimizer: OptimizerCallable
    schedule: Schedule
    final_lr: float
    decay: Decay
    warmup_epochs: int


def configure_like(model: Configured) -> Callable[..., dict[str, Any]]:
    """``configure`` with the settings of ``model``: of a module, and ``trained`` where that is a part of it."""
    return partial(
        configure,
        optimizer=model.optimizer,
        schedule=model.schedule,
        final_lr=model.final_lr,
        decay=model.decay,
        warmup_epochs=model.warmup_epochs,
    )


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer that decays weights, but no biases and no scales and shifts of batch-norm."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _epochs(trainer: Trainer) -> float:
    return math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)


def _steps_per_epoch(trainer: Trainer) -> int:
    trainer.fit_loop.setup_data()  # counts the batches, where nothing has counted them yet
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _linear(progress: float) -> float:
    return 1 - progress


def _constant(progress: float) -> float:  # noqa: ARG001
    return 1.0


SHAPES: dict[Schedule, Callable[[float], float]] = {
    "cosine": _cosine,
    "cosine_epochs": _cosine,
    "linear": _linear,
    "constant": _constant,
}


def _annealed(
    shape: Callable[[float], float], length: float, final: float, warmup: int
) -> Callable[[int], float]:
    """The factor after so many steps (or epochs): from 1 to ``final`` in ``length`` of them, after a warm-up.

    A function of the step and the length of this run alone: torch's CosineAnnealingLR takes its length from
    the checkpoint, and lets the rate climb again in a run that is continued for longer.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)  # never 0, and 1 after the warm-up
        return final + (1 - final) * shape(min((step - warmup) / (length - warmup), 1.0))

    return factor
