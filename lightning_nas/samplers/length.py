"""How long a run is: schedules and warm-ups are parts of it."""

import math
from typing import NamedTuple

from lightning import Trainer


class RunLength(NamedTuple):
    """The length of a run, infinite where it has no end.

    Attributes:
        steps: Optimizer steps.
        batches: Training batches, which are more where gradients accumulate.
        epochs: Epochs, of which the last may be cut short.
    """

    steps: float
    batches: float
    epochs: float


def length_of(trainer: Trainer) -> RunLength:
    """The length of a run that is about to begin."""
    trainer.fit_loop.setup_data()  # a run that is bounded by steps alone does not know its epochs otherwise
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps):
        return RunLength(math.inf, math.inf, math.inf)
    per_epoch = int(trainer.num_training_batches)
    # The last step of an epoch takes the batches that are left.
    whole_epochs, rest = divmod(int(steps), math.ceil(per_epoch / trainer.accumulate_grad_batches))
    batches = whole_epochs * per_epoch + rest * trainer.accumulate_grad_batches
    return RunLength(steps, batches, batches / per_epoch)
