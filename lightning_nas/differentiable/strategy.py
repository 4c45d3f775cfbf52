"""What a way to learn the architecture is."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lightning_nas.differentiable.alphas import Alphas
    from lightning_nas.differentiable.module import DifferentiableModule


class LearningStrategy(ABC):
    """Says how one step learns the weights and the alphas: a frozen dataclass whose fields are plain types.

    A method implements ``learn``; it has no state of its own: what is learnt is in the module, and noise follows from
    seed and step.
    """

    @property
    @abstractmethod
    def needs_held_out(self) -> bool:
        """Whether the alphas learn from other images than the weights: then each has half of the training images."""

    @abstractmethod
    def learn(self, module: "DifferentiableModule") -> None:
        """Updates weights and alphas once, from the batches of this step.

        Args:
            module: Computes losses on the batches of the step, and their gradients, and updates.
        """

    def initial(self, choices: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """The alphas of a decision to begin with: next to equal.

        Args:
            choices: Their number.
            rng: For the differences.
        """
        return 1e-3 * rng.standard_normal(choices)

    def temperature(self, progress: float) -> float | None:
        """The temperature after a part of the run, in [0, 1]; None where there is none."""
        return None

    def end_epoch(self, alphas: "Alphas") -> None:  # noqa: B027  (most settle nothing)
        """Settles the decisions that are clear; here none."""

    def check(self, module: "DifferentiableModule") -> None:  # noqa: B027  (most suit everything)
        """Refuses what the method cannot work with; called when a run begins.

        Raises:
            NASError: It does not suit.
        """
