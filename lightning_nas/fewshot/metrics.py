"""What says which choices of a decision belong together.

Ly-Manson et al., Analyzing Few-Shot Neural Architecture Search in a Metric-Driven Framework (AutoML 2024), Sec. 3; below
"the paper". A choice is looked at in the sub-supernet in which it alone is left at the decision, and all choices in equal
shares at the others (Eq. 2).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.data import ImageDataModule
from lightning_nas.density.distance import unit_vectors
from lightning_nas.density.representation import as_weights
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.fewshot.mixture import Mixture
from lightning_nas.fewshot.partition import MOST, Groups, between, partition
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import SearchSpace, Supernet
from lightning_nas.spaces.base import Choices
from lightning_nas.zeroshot import Estimator
from lightning_nas.zeroshot.base import left_alone, scored_weights


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        space: What is split.
        supernet: Its shared weights.
        data: Training images.
        seed: Of random splits.
    """

    space: SearchSpace
    supernet: Supernet
    data: ImageDataModule
    seed: int

    def batches(self, number: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first images of the training split and their labels, where the weights are.

        Raises:
            NASError: There are not as many.
        """
        images, labels = as_weights(self.supernet, *self.data.training_images(number * size))
        if len(images) < number * size:
            raise NASError(
                f"the metric looks at {number} batches of {size}, but there are {len(images)} training images: lower "
                "metric.batches or metric.batch_size"
            )
        return zip(images.split(size), labels.split(size), strict=True)


class Fork(NamedTuple):
    """Where a part of the space may be divided.

    Attributes:
        part: The part.
        decision: At which decision.
        options: The choices that paths of the part take there, at least two.
        number: Of groups to make.
        balanced: Whether the groups are equally large.
        place: Where the part is in the tree: which child was taken at every level above.
    """

    part: SearchSpace
    decision: int
    options: tuple[int, ...]
    number: int
    balanced: bool
    place: tuple[int, ...]

    def with_only(self, option: int) -> Choices:
        """The choices of the part, where one alone is left at the decision."""
        choices = self.part.choices
        return (*choices[: self.decision], (option,), *choices[self.decision + 1 :])


class Division(NamedTuple):
    """How choices were divided.

    Attributes:
        groups: The choices of every group.
        separation: Sum of the distances between choices of different groups, by which decisions are compared; None
            where no distances are known.
        values: What the metric says of every option, in their order; None where it says nothing of single ones.
        similarity: Of every two options, in their order; None where they are not compared.
    """

    groups: Groups
    separation: float | None = None
    values: list[float] | None = None
    similarity: list[list[float]] | None = None


class SplitMetric(ABC):
    """Divides the choices of a decision into groups. A subclass is a frozen dataclass, whose fields are its options.

    Attributes:
        knows_distances: Whether its divisions have a separation, by which decisions can be compared.
    """

    knows_distances: ClassVar[bool] = False

    @abstractmethod
    def divide(self, subject: Subject, fork: Fork) -> Division:
        """The groups.

        Raises:
            NASError: The metric cannot be had of this supernet.
        """


class SimilarityMetric(SplitMetric):
    """Says how alike choices are; groups are those between which the least similarity is.

    Attributes:
        of_equals: What two choices that do not differ have.
    """

    knows_distances = True
    of_equals: ClassVar[float]

    @abstractmethod
    def compare(self, subject: Subject, fork: Fork) -> tuple[NDArray[np.float64], list[float] | None]:
        """Similarities of the options, shape (n, n), and what is known of every option alone.

        Raises:
            NASError: The metric cannot be had of this supernet.
        """

    def divide(self, subject: Subject, fork: Fork) -> Division:
        """The groups of the minimum cut.

        Raises:
            NASError: There are too many choices to try all cuts, or the metric cannot be had.
        """
        if len(fork.options) > MOST:
            raise NASError(
                f"decision {fork.decision} has {len(fork.options)} choices, but the metric {type(self).__name__} tries all "
                f"ways to divide them, which is for {MOST} at most: valid are RandomSplit and EveryChoice"
            )
        similarity, values = self.compare(subject, fork)
        positions = partition(similarity, fork.number, fork.balanced)
        groups = tuple(tuple(fork.options[i] for i in group) for group in positions)
        separation = between(self.of_equals - similarity, positions)
        return Division(groups, separation, values, similarity.tolist())


class ScalarMetric(SimilarityMetric):
    """Says a number of every sub-supernet: choices are as unlike as their numbers differ.

    The similarity is the negative difference, as in the released code of the paper; its Eq. 3 would put the most
    different choices together. Differences are fractions of the number of the supernet that is not split.
    """

    of_equals = 0.0

    @abstractmethod
    def value(self, subject: Subject, choices: Choices) -> float:
        """The number of the sub-supernet with the given choices.

        Raises:
            NASError: It cannot be had of this supernet.
        """

    def compare(self, subject: Subject, fork: Fork) -> tuple[NDArray[np.float64], list[float] | None]:
        """Negative differences, and the numbers that they are between.

        Raises:
            NASError: A number is not finite, or that of the whole supernet is 0.
        """
        reference = self.value(subject, subject.space.choices)
        found = [self.value(subject, fork.with_only(option)) for option in fork.options]
        if not reference or not np.isfinite([reference, *found]).all():
            raise NASError(
                f"the metric {self} is {reference} of the supernet and {found} of the choices of decision {fork.decision}, "
                "which cannot be compared: choose another metric"
            )
        values = [(value - reference) / abs(reference) for value in found]
        return -np.abs(np.subtract.outer(values, values)), values


@dataclass(frozen=True)
class ParameterCount(ScalarMetric):
    """The number of weights of the sub-supernet, those of batch-norm included ("#params"). For all spaces.

    A weight counts where every decision on which it depends allows it.
    """

    def value(self, subject: Subject, choices: Choices) -> float:
        """The number."""
        return float(count_weights(subject.supernet, choices))


@dataclass(frozen=True)
class Estimated(ScalarMetric):
    """What a training-free estimator says of the sub-supernet.

    Attributes:
        estimator: The estimator.
        batches: Of training images, whose estimates are averaged.
        batch_size: Images in each.

    Raises:
        NASError: A number is less than 1.
    """

    estimator: Estimator
    batches: int = 1
    batch_size: int = 16

    def __post_init__(self) -> None:
        require_at_least(1, "metric", batches=self.batches, batch_size=self.batch_size)

    def value(self, subject: Subject, choices: Choices) -> float:
        """The mean over the batches.

        Raises:
            NASError: The supernet runs no mixtures, or there are not enough images.
        """
        network = Mixture(subject.supernet, choices)
        batches = subject.batches(self.batches, self.batch_size)
        return float(np.mean([self.estimator(network, images, labels) for images, labels in batches]))


@dataclass(frozen=True)
class GradientMatching(SimilarityMetric):
    """The cosine of the gradients that two choices give the weights they have in common.

    Attributes:
        of: ``loss``: of the cross-entropy, in training mode, in the weights of the cells but for those of the decision
            (Hu et al., Generalizing Few-Shot NAS with Gradient Matching, ICLR 2022). The cells are what lies between the
            first and the last weight that belongs to a choice, so that stem and classifier are left out. ``logits``: of
            the sum of the logits, without labels, in evaluation mode, in all weights of convolutions and linear layers
            (released code of the paper).
        batches: Of training images, over which cosines are averaged; None for the published 100 or 1, or as many as there
            are images for.
        batch_size: Images in each; None for the published 48 or 16.

    Raises:
        NASError: A number is less than 1.
    """

    of: Literal["loss", "logits"] = "loss"
    batches: int | None = None
    batch_size: int | None = None
    of_equals = 1.0

    def __post_init__(self) -> None:
        given = {"batches": self.batches, "batch_size": self.batch_size}
        require_at_least(1, "metric", **{name: value for name, value in given.items() if value is not None})

    def compare(self, subject: Subject, fork: Fork) -> tuple[NDArray[np.float64], None]:
        """Mean cosines; 0 where a gradient vanishes.

        Raises:
            NASError: The supernet runs no mixtures, there are not enough images, or a gradient is not finite.
        """
        networks = [Mixture(subject.supernet, fork.with_only(option)) for option in fork.options]
        number, size = {"loss": (100, 48), "logits": (1, 16)}[self.of]
        size = self.batch_size or size
        number = self.batches or max(1, min(number, len(subject.data.training_labels) // size))
        cosines = np.zeros((len(networks), len(networks)))
        for images, labels in subject.batches(number, size):
            gradients = torch.stack(
                [self._gradient(network, fork.decision, images, labels) for network in networks]
            )
            if not gradients.isfinite().all():
                raise NASError(
                    f"gradients of decision {fork.decision} are not finite, so the metric {self} cannot compare its choices: "
                    "give weights that have not diverged (ckpt_path, mixture_epochs)"
                )
            units = unit_vectors(gradients.double().cpu().numpy())
            cosines += units @ units.T / number
        return cosines, None

    def _gradient(self, network: Mixture, decision: int, images: Tensor, labels: Tensor) -> Tensor:
        with left_alone(network), torch.enable_grad():
            if self.of == "loss":
                weights: list[Tensor] = list(cell_weights(network.supernet, decision))
                objective = F.cross_entropy(network.train()(images), labels)
            else:
                weights = scored_weights(network)
                objective = network.eval()(images).sum()
            found = torch.autograd.grad(objective, weights, allow_unused=True, materialize_grads=True)
        return torch.cat([gradient.flatten() for gradient in found])


@dataclass(frozen=True)
class RandomSplit(SplitMetric):
    """Groups of random choices, of random sizes unless they are to be balanced: what a metric has to be better than."""

    def divide(self, subject: Subject, fork: Fork) -> Division:
        """The groups, which depend on the seed and on the place in the tree."""
        rng = generator(subject.seed, Stream.SPLITTING, *fork.place, fork.decision)
        shuffled = rng.permutation(fork.options)
        number = min(fork.number, len(shuffled))
        if fork.balanced:
            parts = np.array_split(shuffled, number)
        else:
            ends = np.sort(rng.choice(np.arange(1, len(shuffled)), number - 1, replace=False))
            parts = np.split(shuffled, ends)
        return Division(tuple(tuple(sorted(part.tolist())) for part in parts))


@dataclass(frozen=True)
class EveryChoice(SplitMetric):
    """A group for every choice, as many as there are (Zhao et al., Few-Shot Neural Architecture Search, ICML 2021)."""

    def divide(self, subject: Subject, fork: Fork) -> Division:
        """The groups."""
        return Division(tuple((option,) for option in fork.options))


def count_weights(supernet: Supernet, choices: Choices) -> int:
    """The weights that are left to a part of the space: where all decisions on which a weight depends allow it."""
    masks: dict[nn.Parameter, Tensor] = {}
    for decision, kept in enumerate(choices):
        held: dict[nn.Parameter, Tensor] = {}
        for choice in range(supernet.space.num_choices[decision]):
            for parameter, index in supernet.choice_parameters(decision, choice):
                mask = held.setdefault(parameter, torch.zeros(parameter.shape, dtype=torch.bool))
                if choice in kept:
                    mask[index] = True
        for parameter, mask in held.items():
            masks[parameter] = masks[parameter] & mask if parameter in masks else mask
    return sum(
        int(masks[parameter].sum()) if parameter in masks else parameter.numel()
        for parameter in supernet.parameters()
    )


def cell_weights(supernet: Supernet, without: int) -> list[nn.Parameter]:
    """The weights from the first to the last that belongs to a choice, but for those of one decision.

    Raises:
        NASError: There are none.
    """
    held = [
        {
            id(part.parameter)
            for choice in range(number)
            for part in supernet.choice_parameters(decision, choice)
        }
        for decision, number in enumerate(supernet.space.num_choices)
    ]
    weights = list(supernet.parameters())
    owned = [i for i, weight in enumerate(weights) if any(id(weight) in of_decision for of_decision in held)]
    cells = weights[min(owned, default=0) : max(owned, default=-1) + 1]
    kept = [weight for weight in cells if id(weight) not in held[without]]
    if not kept:
        raise NASError(
            f"all weights of the cells belong to decision {without}, so that no gradients in common are left: choose another "
            "metric"
        )
    return kept
