"""How the smoothing parameters of PA&DA change in the course of a run.

Both of its distributions are mixtures of what was measured and of the uniform one, ``d * p + (1 - d) / n``.
"""

import math
from typing import Literal

from lightning import Trainer

from lightning_nas.errors import NASError

Smoothing = Literal["rising", "falling", "constant"]


def smoothing(schedule: Smoothing, maximum: float, progress: float) -> float:
    """The weight of what was measured.

    Args:
        schedule: ``rising`` from 0 to ``maximum``, ``falling`` from it to 0, both linearly, or ``constant``.
        maximum: The largest value.
        progress: Which part of the run is over, in [0, 1].

    Example:
        >>> smoothing("rising", 1.0, 0.25), smoothing("falling", 1.0, 0.25), smoothing("constant", 0.8, 0.25)
        (0.25, 0.75, 0.8)
    """
    return maximum * {"rising": progress, "falling": 1 - progress, "constant": 1.0}[schedule]


def length_of(trainer: Trainer, schedule: Smoothing, key: str) -> tuple[float, float]:
    """The length of the run, in optimizer steps and in epochs, over which a schedule extends.

    Args:
        trainer: The trainer.
        schedule: The schedule.
        key: The option that gave the schedule.

    Raises:
        NASError: The schedule changes over a run that has no end.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps):
        if schedule != "constant":
            raise NASError(
                f"{key} is {schedule!r}, but the run has no end: set trainer.max_epochs or trainer.max_steps"
            )
        return math.inf, math.inf
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return steps, steps / per_epoch


def require_share(key: str, value: float) -> None:
    """Refuses a weight outside of [0, 1].

    Raises:
        NASError: It is.
    """
    if not 0 <= value <= 1:
        raise NASError(f"{key} is {value}: valid are numbers from 0 to 1")
