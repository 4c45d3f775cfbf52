"""DSNAS: every step runs single paths, whose cost moves the alphas.

Hu et al., DSNAS: Direct Neural Architecture Search without Parameter Retraining, CVPR 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_nas.differentiable.alphas import Alphas, Gradients, one_hot
from lightning_nas.differentiable.strategy import LearningStrategy
from lightning_nas.errors import NASError

if TYPE_CHECKING:
    from lightning_nas.differentiable.module import DifferentiableModule


@dataclass(frozen=True)
class DSNAS(LearningStrategy):
    """Paths are sampled from the softmax of the alphas.

    ``original``: one path runs, its choices multiplied by Z = 1. The cost of a choice is c = dL/dZ, and the gradient of
    the alphas of its decision c (Z - p), with Z one-hot and p the probabilities. Weights and alphas learn from the same
    training images, in one pass.

    ``leave_one_out``: what the released code of Ly-Manson et al. (AutoML 2024) runs under the name of DSNAS. The weights
    learn the mean loss of n paths on training images. The alphas learn by REINFORCE from the losses of n other paths on
    held-out images, each compared with the mean of the others: 1 / (n - 1) sum_k (Z_k - p) (L_k - mean L).

    Decisions that have become clear are settled after an epoch (progressive early stopping): where the best choice is
    ahead of the second by ``gap``. A settled decision always takes this choice, and its alphas rest.

    Attributes:
        estimator: Of the gradient of the alphas.
        paths: n of ``leave_one_out``, at least 2; ``original`` has one path whatever it says.
        gap: When a decision is settled; None never settles one.
        gap_of: What is compared: ``probability``, as published, or the alphas themselves (``logit``), as in the code of
            Ly-Manson et al., with a gap of 0.8.

    Raises:
        NASError: A number that is out of range.
    """

    estimator: Literal["original", "leave_one_out"] = "original"
    paths: int = 5
    gap: float | None = 0.3
    gap_of: Literal["probability", "logit"] = "probability"

    def __post_init__(self) -> None:
        if self.paths < 2:
            raise NASError(
                f"strategy.paths is {self.paths}: leave_one_out compares paths with each other, so valid are numbers from 2"
            )
        if self.gap is not None and self.gap <= 0:
            raise NASError(
                f"strategy.gap is {self.gap}: valid are numbers above 0, and null to settle nothing"
            )
        if self.gap is not None and self.gap >= 1 and self.gap_of == "probability":
            raise NASError(
                f"strategy.gap is {self.gap}: probabilities are less than 1 apart, so valid are numbers between 0 and 1"
            )

    @property
    def needs_held_out(self) -> bool:
        """Whether the alphas learn from held-out images."""
        return self.estimator == "leave_one_out"

    def learn(self, module: "DifferentiableModule") -> None:
        """Alphas and weights from one path, or each from n of their own."""
        if self.needs_held_out:
            module.update_alphas(self._leave_one_out(module))
            module.update_weights(self._mean_gradients(module))
        else:
            self._learn_from_one_path(module)

    def _learn_from_one_path(self, module: "DifferentiableModule") -> None:
        probabilities = [vector.detach() for vector in module.alphas.probabilities()]
        path = module.alphas.sample(module.gumbel())
        drawn = [z.requires_grad_() for z in one_hot(path, probabilities)]
        found = module.gradients(module.training_loss(drawn), [*drawn, *module.weights])
        # Where nothing of a choice runs, as for none, the loss does not depend on it: its cost is 0.
        costs = [
            torch.tensor(0.0) if g is None else g[choice]
            for g, choice in zip(found[: len(path)], path, strict=True)
        ]
        module.update_alphas(score_gradients(costs, drawn, probabilities))
        module.update_weights(found[len(path) :])

    @torch.no_grad()
    def _leave_one_out(self, module: "DifferentiableModule") -> list[Tensor]:
        probabilities = module.alphas.probabilities()
        drawn = [one_hot(module.alphas.sample(module.gumbel()), probabilities) for _ in range(self.paths)]
        losses = torch.stack([module.held_out_loss(path) for path in drawn])
        return leave_one_out_gradients(losses, drawn, probabilities)

    def _mean_gradients(self, module: "DifferentiableModule") -> Gradients:
        """Of the mean loss of n paths, one pass after the other."""
        found: list[Gradients] = []
        for _ in range(self.paths):
            path = one_hot(module.alphas.sample(module.gumbel()), module.alphas.vectors)
            found.append(module.gradients(module.training_loss(path) / self.paths, module.weights))
        return [_sum(column) for column in zip(*found, strict=True)]

    @torch.no_grad()
    def end_epoch(self, alphas: Alphas) -> None:
        """Settles the decisions whose best choice is ahead."""
        compared = alphas.probabilities() if self.gap_of == "probability" else alphas.masked()
        for decision, (vector, settled) in enumerate(zip(compared, alphas.settled, strict=True)):
            if self.gap is None or settled:
                continue
            best, second = vector.topk(2).values
            if best - second >= self.gap:
                alphas.settle(decision, int(vector.argmax()))


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Of those that there are."""
    found = [g for g in gradients if g is not None]
    return reduce(torch.add, found) if found else None


def score_gradients(
    costs: Sequence[Tensor], drawn: Sequence[Tensor], probabilities: Sequence[Tensor]
) -> list[Tensor]:
    """For every decision c (Z - p).

    Args:
        costs: c, a number per decision.
        drawn: Z, a one-hot vector per decision.
        probabilities: p, a vector per decision.
    """
    return [c * (z.detach() - p) for c, z, p in zip(costs, drawn, probabilities, strict=True)]


def leave_one_out_gradients(
    losses: Tensor, drawn: Sequence[Sequence[Tensor]], probabilities: Sequence[Tensor]
) -> list[Tensor]:
    """For every decision 1 / (n - 1) sum_k (Z_k - p) (L_k - mean L).

    Args:
        losses: L, of n paths.
        drawn: Z_k, for every path a one-hot vector per decision.
        probabilities: p, a vector per decision.
    """
    advantages = (losses - losses.mean()) / (len(losses) - 1)
    return [
        torch.stack([a * (z - p) for a, z in zip(advantages, column, strict=True)]).sum(0)
        for column, p in zip(zip(*drawn, strict=True), probabilities, strict=True)
    ]
