"""GDAS: every step samples one path, and a soft sample passes the gradient to the alphas.

Dong and Yang, Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019, and released code.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_nas.differentiable.alphas import Vectors, one_hot
from lightning_nas.differentiable.strategy import LearningStrategy
from lightning_nas.differentiable.temperature import Annealing, annealed, require_temperatures

if TYPE_CHECKING:
    from lightning_nas.differentiable.module import DifferentiableModule


@dataclass(frozen=True)
class GDAS(LearningStrategy):
    """One choice of every decision runs, and its weight passes the gradient of a soft one.

    Of s = softmax((alphas + Gumbel noise) / temperature) the largest choice runs, with weight 1; backward its weight
    counts as s (straight through). The weights learn on training images, the alphas on held-out ones.

    Only the choice that ran passes a gradient to the alphas. (The released code adds the zero weights of all others to
    the features, through which they receive one, too.)

    Attributes:
        start_temperature: In the first epoch.
        end_temperature: Towards which it falls.
        annealing: How; published is ``linear``.

    Raises:
        NASError: A temperature that is not positive.
    """

    start_temperature: float = 10.0
    end_temperature: float = 0.1
    annealing: Annealing = "linear"

    def __post_init__(self) -> None:
        require_temperatures(self.start_temperature, self.end_temperature)

    @property
    def needs_held_out(self) -> bool:
        """True."""
        return True

    def temperature(self, progress: float) -> float:
        """The temperature after a part of the run, in [0, 1]."""
        return annealed(progress, self.start_temperature, self.end_temperature, self.annealing)

    def learn(self, module: "DifferentiableModule") -> None:
        """Alphas first, then weights, each from a path of its own."""
        loss = module.held_out_loss(self._sample(module))
        module.update_alphas(module.gradients(loss, module.alphas.vectors))
        path = [vector.detach() for vector in self._sample(module)]
        module.update_weights(module.gradients(module.training_loss(path), module.weights))

    def _sample(self, module: "DifferentiableModule") -> Vectors:
        soft = module.alphas.perturbed(module.gumbel(), self.temperature(module.progress))
        hard = one_hot(tuple(int(vector.argmax()) for vector in soft), soft)
        # In this order the sum is exactly 0 and 1: what is 0 does not run.
        return [h + (s - s.detach()) for h, s in zip(hard, soft, strict=True)]
