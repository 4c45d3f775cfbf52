"""Temperatures that fall over a run."""

import math
from typing import Literal

from lightning_nas.errors import NASError

Annealing = Literal["cosine", "linear"]


def annealed(progress: float, start: float, end: float, annealing: Annealing) -> float:
    """The temperature at a point of the run.

    Args:
        progress: The part of the run that is over, in [0, 1].
        start: At the beginning.
        end: At the end.
        annealing: Along half a cosine wave, or in a line.

    Example:
        >>> round(annealed(10 / 50, 1.0, 0.1, "linear"), 6), round(annealed(10 / 50, 1.0, 0.1, "cosine"), 6)
        (0.82, 0.914058)
    """
    left = 1 - progress if annealing == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return end + (start - end) * left


def require_temperatures(start: float, end: float) -> None:
    """Refuses a temperature that is not positive.

    Args:
        start: ``strategy.start_temperature``.
        end: ``strategy.end_temperature``.

    Raises:
        NASError: One is not a positive number.
    """
    for name, value in (("start_temperature", start), ("end_temperature", end)):
        if not 0 < value < math.inf:
            raise NASError(f"strategy.{name} is {value}: valid are numbers above 0")
