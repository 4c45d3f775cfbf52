"""SNAS: every step samples a soft architecture, and its gradient reaches the alphas through the sample.

Xie et al., SNAS: Stochastic Neural Architecture Search, ICLR 2019 (without its resource constraint).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_nas.differentiable.alphas import Vectors
from lightning_nas.differentiable.strategy import LearningStrategy
from lightning_nas.differentiable.temperature import Annealing, annealed, require_temperatures

if TYPE_CHECKING:
    from lightning_nas.differentiable.module import DifferentiableModule


@dataclass(frozen=True)
class SNAS(LearningStrategy):
    """All operations run, weighted by softmax((alphas + Gumbel noise) / temperature).

    The noise is fresh in every pass, and the temperature falls from epoch to epoch.

    Attributes:
        start_temperature: In the first epoch.
        end_temperature: Towards which it falls.
        annealing: How. Ly-Manson et al., Analyzing Few-Shot Neural Architecture Search in a Metric-Driven Framework,
            AutoML 2024, App. A.4, write ``cosine``; their released code is ``linear``.
        alphas_from: Whose loss the alphas lower. ``training``: the weights' own, in one pass, as published.
            ``held_out``: that of other images, as in DARTS.

    Raises:
        NASError: A temperature that is not positive.
    """

    start_temperature: float = 1.0
    end_temperature: float = 0.1
    annealing: Annealing = "cosine"
    alphas_from: Literal["training", "held_out"] = "training"

    def __post_init__(self) -> None:
        require_temperatures(self.start_temperature, self.end_temperature)

    @property
    def needs_held_out(self) -> bool:
        """Whether the alphas learn from them."""
        return self.alphas_from == "held_out"

    def initial(self, choices: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Normal with mean 1 and standard deviation 0.01."""
        return 1 + 0.01 * rng.standard_normal(choices)

    def temperature(self, progress: float) -> float:
        """The temperature after a part of the run, in [0, 1]."""
        return annealed(progress, self.start_temperature, self.end_temperature, self.annealing)

    def learn(self, module: "DifferentiableModule") -> None:
        """Alphas and weights from one sample, or the alphas first from one of their own."""
        alphas = module.alphas.vectors
        if self.needs_held_out:
            module.update_alphas(module.gradients(module.held_out_loss(self._sample(module)), alphas))
            mixture = [vector.detach() for vector in self._sample(module)]
            module.update_weights(module.gradients(module.training_loss(mixture), module.weights))
            return
        found = module.gradients(module.training_loss(self._sample(module)), [*alphas, *module.weights])
        module.update_alphas(found[: len(alphas)])
        module.update_weights(found[len(alphas) :])

    def _sample(self, module: "DifferentiableModule") -> Vectors:
        return module.alphas.perturbed(module.gumbel(), self.temperature(module.progress))
