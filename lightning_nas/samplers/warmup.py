"""How long a method samples uniformly before it has anything to go by."""

import math

from lightning import Trainer

from lightning_nas.errors import NASError
from lightning_nas.samplers.length import length_of


def require_warmup(given: int | None, key: str = "sampler.warmup_steps") -> None:
    """Refuses a run without a warm-up.

    Raises:
        NASError: ``given`` is a number, and less than 1.
    """
    if given is not None and given < 1:
        raise NASError(f"{key} is {given}: untrained paths all look alike, so it is at least 1")


def warmup_of(trainer: Trainer, given: int | None, key: str = "sampler.warmup_steps") -> int:
    """The warm-up of a run, in steps (training batches).

    Args:
        trainer: The trainer, which knows the length of the run.
        given: The option ``warmup_steps``; None takes the larger of 3 epochs and 5 % of the run.
        key: Where it was given.

    Raises:
        NASError: The warm-up leaves no step for the method, or the run has no end and no warm-up is given.
    """
    steps = length_of(trainer).batches
    if given is None and math.isinf(steps):
        raise NASError(f"the run has no end, so its share for the warm-up is unknown: give {key}")
    warmup = max(3 * int(trainer.num_training_batches), int(0.05 * steps)) if given is None else given
    if warmup >= steps and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        by_default = " by default" if given is None else ""
        raise NASError(
            f"{key} is {warmup}{by_default}, but the whole run has {steps:.0f} steps: valid are 1 to "
            f"{steps - 1:.0f}"
        )
    return warmup
