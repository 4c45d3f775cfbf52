"""What is learnt of the architecture: a number for every choice of every decision."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lightning_nas.spaces import Path, SearchSpace

Vectors = list[Tensor]
"""One vector per decision, an entry for each of its choices."""

Gradients = Sequence[Tensor | None]
"""A gradient for each of several tensors; None where there is none."""


class Alphas(nn.Module):
    """One vector per decision. Choices that a space leaves out have probability 0, always.

    Args:
        space: Says which choices are allowed.
        initial: The values to begin with, one vector per decision.

    Attributes:
        allowed: Which choices may still be taken, decisions x choices; rows are filled up with False. A decision with
            one of them is settled.
    """

    allowed: Tensor

    def __init__(self, space: SearchSpace, initial: Sequence[Tensor]) -> None:
        super().__init__()
        self.logits = nn.ParameterList(nn.Parameter(vector.clone()) for vector in initial)
        allowed = torch.zeros(len(initial), max(space.num_choices), dtype=torch.bool)
        for decision, choices in enumerate(space.choices):
            allowed[decision, list(choices)] = True
        self.register_buffer("allowed", allowed)

    @property
    def vectors(self) -> list[nn.Parameter]:
        """The parameters, one vector per decision."""
        return cast(list[nn.Parameter], list(self.logits))

    def masked(self) -> Vectors:
        """The vectors, with minus infinity at choices that may not be taken."""
        return [
            vector.masked_fill(~row[: len(vector)], -torch.inf)
            for vector, row in zip(self.vectors, self.allowed, strict=True)
        ]

    def probabilities(self) -> Vectors:
        """The softmax over the allowed choices of every decision; 0 elsewhere."""
        return [vector.softmax(0) for vector in self.masked()]

    def perturbed(self, noise: Sequence[Tensor], temperature: float) -> Vectors:
        """The softmax of (alphas + noise) / temperature over the allowed choices; 0 elsewhere.

        Args:
            noise: One vector per decision.
            temperature: Above 0.
        """
        return [
            ((vector + added) / temperature).softmax(0)
            for vector, added in zip(self.masked(), noise, strict=True)
        ]

    def sample(self, noise: Sequence[Tensor]) -> Path:
        """A path of which every choice has the probability that ``probabilities`` says.

        Args:
            noise: Standard Gumbel noise, one vector per decision (Gumbel, 1954: the largest of alphas + noise).
        """
        perturbed = zip(self.masked(), noise, strict=True)
        return tuple(int((vector + added).argmax()) for vector, added in perturbed)

    def genotype(self) -> Path:
        """The most probable path."""
        return tuple(int(vector.argmax()) for vector in self.masked())

    @torch.no_grad()
    def entropy(self) -> float:
        """Mean over the decisions of the entropy of their probabilities, in nats."""
        return float(torch.stack([-p.xlogy(p).sum() for p in self.probabilities()]).mean())

    @property
    def settled(self) -> list[bool]:
        """For every decision whether one choice is left."""
        return cast(list[bool], (self.allowed.sum(1) == 1).tolist())

    def settle(self, decision: int, choice: int) -> None:
        """Leaves a decision this choice alone, from now on."""
        self.allowed[decision] = False
        self.allowed[decision, choice] = True


def one_hot(path: Path, like: Sequence[Tensor]) -> Vectors:
    """The weights of a mixture that is ``path`` alone.

    Args:
        path: The path.
        like: One vector per decision, of the sizes, the type and the device wanted.
    """
    vectors = [torch.zeros_like(vector) for vector in like]
    for vector, choice in zip(vectors, path, strict=True):
        vector[choice] = 1
    return vectors
