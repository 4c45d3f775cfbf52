"""How the smoothing parameters of PA&DA change in the course of a run.

Both of its distributions are mixtures of what was measured and of the uniform one, ``d * p + (1 - d) / n``.
"""

import math
from typing import Literal

from lightning_nas.errors import NASError
from lightning_nas.samplers.length import RunLength

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


def require_end(length: RunLength, schedule: Smoothing, key: str) -> None:
    """Refuses a schedule that changes over a run without an end.

    Args:
        length: That of the run.
        schedule: The schedule.
        key: The option that gave the schedule.

    Raises:
        NASError: It does.
    """
    if schedule != "constant" and math.isinf(length.steps):
        raise NASError(
            f"{key} is {schedule!r}, but the run has no end: set trainer.max_epochs or trainer.max_steps"
        )


def require_share(key: str, value: float) -> None:
    """Refuses a weight outside of [0, 1].

    Raises:
        NASError: It is.
    """
    if not 0 <= value <= 1:
        raise NASError(f"{key} is {value}: valid are numbers from 0 to 1")
