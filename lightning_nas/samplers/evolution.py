"""Sampling guided by an evolution that goes on beside the training."""

import itertools
from typing import Literal

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import ArrayLike
from torch import Tensor

from lightning_nas.density.representation import batch_statistics
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.ranking.pareto import pareto_fronts
from lightning_nas.samplers.base import PathSampler, of_rank_zero, require_paths
from lightning_nas.samplers.length import length_of
from lightning_nas.samplers.probe import image_data
from lightning_nas.spaces import Path, SearchSpace, Supernet

Select = Literal["score", "pareto"]
Population = tuple[Path, ...]


class EvolutionSampler(PathSampler):
    """Trains the paths of a population half of the time, and evolves it with the supernet's own scores.

    App. A.3.4 and Tab. A8 of Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures,
    NeurIPS 2021::

        warm up with uniform paths
        then, at the beginning of every 10th epoch:
            candidates = the population, and as many others:
                         50 % random, 25 % crossover, 25 % mutation of uniform parents in the population
            score all of them with the supernet
            population = the 100 of the highest score, or those of the first Pareto fronts
        from then on a path comes with equal chances from the population or from the whole space

    The first population is random and is scored together with the first candidates. The paper leaves open how
    fronts become exactly 100 paths; like its released code (aw_nas, ``cars_evo.py``, after CARS) this takes front
    after front, and of the last one a random part. Unlike there, no candidate is scored twice in a generation.

    On NAS-Bench-301 the authors saw small gains in early epochs only, and a failure without the random half. Each
    generation costs as much as ranking ``num_candidates`` paths on ``num_images``.

    Args:
        warmup_epochs: Uniform epochs before the first generation, at least 1. The authors also tried 100 and 200,
            without consistent gains.
        every_n_epochs: Epochs from one generation to the next, at least 1. With 5 the authors saw the same.
        population_size: Paths that are kept, at least 1.
        num_candidates: Paths that are scored, more than are kept: the population and its rivals.
        select: What is kept: the highest ``score``, or the ``pareto`` fronts of score against parameters, and of score
            against inverse parameters, because young supernets underrate one end.
        population_share: The probability of a path to come from the population, above 0; 1 is the first setting of
            the paper, which failed.
        num_images: Validation images for the score, the top-1 accuracy; all, where there are fewer.
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        population: The paths that were kept; none during the warm-up, and all of a space that has no more.
        scores: Their accuracies in percent when they were last scored.
        generation: How often the population was renewed.
    """

    options = (
        "warmup_epochs",
        "every_n_epochs",
        "population_size",
        "num_candidates",
        "select",
        "population_share",
        "num_images",
        "paths",
    )
    state = ("population", "scores", "generation")

    def __init__(
        self,
        warmup_epochs: int = 50,
        every_n_epochs: int = 10,
        population_size: int = 100,
        num_candidates: int = 200,
        select: Select = "score",
        population_share: float = 0.5,
        num_images: int = 1000,
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        if warmup_epochs < 1:
            raise NASError(
                f"sampler.warmup_epochs is {warmup_epochs}: scores of an untrained supernet say nothing, so it is at "
                "least 1"
            )
        counts = {
            "every_n_epochs": every_n_epochs,
            "population_size": population_size,
            "num_images": num_images,
        }
        for name, value in counts.items():
            if value < 1:
                raise NASError(f"sampler.{name} is {value}: valid are numbers from 1")
        if num_candidates <= population_size:
            raise NASError(
                f"sampler.num_candidates is {num_candidates}, but sampler.population_size is {population_size}: "
                "candidates are the population and others, so they are more"
            )
        if not 0 < population_share <= 1:
            raise NASError(
                f"sampler.population_share is {population_share}: valid are numbers above 0 up to 1"
            )
        require_paths(paths)
        self.warmup_epochs = warmup_epochs
        self.every_n_epochs = every_n_epochs
        self.population_size = population_size
        self.num_candidates = num_candidates
        self.select: Select = select
        self.population_share = population_share
        self.num_images = num_images
        self.paths = paths
        super().__init__(seed)

    def begin(self) -> None:
        """No population yet."""
        self.population: Population = ()
        self.scores: tuple[float, ...] = ()
        self.generation = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses, before anything is trained, what could not be done after the warm-up.

        Raises:
            NASError: The data has no validation images to offer, or the warm-up leaves no epoch for the method.
        """
        image_data(trainer)
        epochs = length_of(trainer).epochs
        if self.warmup_epochs >= epochs and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise NASError(
                f"sampler.warmup_epochs is {self.warmup_epochs}, but the whole run has {epochs:g} epochs: the evolution "
                "would never begin"
            )

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """From the population or from the space; before that, at the first step of an epoch, the next generation."""
        if self.generation < self._due(trainer.current_epoch):
            self._evolve(trainer, module)
        rng = generator(self.seed, Stream.PATH, step)
        return tuple(self._draw(module.space, rng) for _ in range(self.paths))

    def _draw(self, space: SearchSpace, rng: np.random.Generator) -> Path:
        if self.population and rng.random() < self.population_share:
            return self.population[rng.integers(len(self.population))]
        return space.sample(rng)

    def _due(self, epoch: int) -> int:
        """The generations that epoch number ``epoch`` (from 0) has behind it."""
        return 0 if epoch < self.warmup_epochs else 1 + (epoch - self.warmup_epochs) // self.every_n_epochs

    def _evolve(self, trainer: Trainer, module: SupernetModule) -> None:
        """The next generation."""

        def evolved() -> tuple[Population, tuple[float, ...]]:
            rng = generator(self.seed, Stream.POPULATION, self.generation)
            parents = self.population or first_population(module.space, self.population_size, rng)
            found = candidates(module.space, parents, self.num_candidates, rng)
            scores = self._scores(trainer, module, found)
            params = [module.space.cost(path).params for path in found]
            kept = (
                best(scores, self.population_size)
                if self.select == "score"
                else first_fronts(scores, params, self.population_size, rng)
            )
            return tuple(found[i] for i in kept), tuple(scores[i] for i in kept)

        self.population, self.scores = of_rank_zero(trainer, evolved)
        self.generation += 1
        metrics = {
            "sampler/population_best": max(self.scores),
            "sampler/population_mean": float(np.mean(self.scores)),
        }
        log_metrics(trainer, metrics)

    def _scores(self, trainer: Trainer, module: SupernetModule, paths: Population) -> list[float]:
        data = image_data(trainer)
        images, labels = data.validation_images(range(min(self.num_images, data.num_val)))
        weight = next(module.supernet.parameters())
        images = images.to(weight.device, weight.dtype, memory_format=module.memory_format)
        return accuracies(module.supernet, paths, images, labels.to(weight.device), data.eval_batch_size)


def first_population(space: SearchSpace, size: int, rng: np.random.Generator) -> Population:
    """Random paths without repetition; all, where the space has no more."""
    if space.size <= size:
        return tuple(space)
    found: dict[Path, None] = {}
    while len(found) < size:
        found[space.sample(rng)] = None
    return tuple(found)


def candidates(
    space: SearchSpace, population: Population, number: int, rng: np.random.Generator
) -> Population:
    """The population and new paths: 50 % random, 25 % crossover and 25 % mutation.

    What is there already is drawn anew, its kind included. So this ends even where the population has nothing more
    to give, and the random share grows.

    Args:
        space: Where the paths come from.
        population: Parents, which are candidates too.
        number: How many candidates, the population included; all paths, where the space has no more.
        rng: Draws them.
    """
    if space.size <= number:
        return tuple(space)
    found = dict.fromkeys(population)
    while len(found) < number:
        kind = rng.random()
        if kind < 0.5:
            child = space.sample(rng)
        else:
            first, second = (population[i] for i in rng.integers(len(population), size=2))
            child = space.crossover(first, second, rng) if kind < 0.75 else space.mutate(first, rng)
        found[child] = None
    return tuple(found)


@torch.no_grad()
def accuracies(
    supernet: Supernet, paths: Population, images: Tensor, labels: Tensor, batch_size: int
) -> list[float]:
    """Top-1 accuracy in percent of every path, with batch-norm on the statistics of the batch.

    The batches are as equal as can be, because a last batch of few images would have poor statistics.
    """
    hits = torch.zeros(len(paths), dtype=torch.int64, device=images.device)
    batches = -(-len(images) // batch_size)
    with batch_statistics(supernet):
        for x, y in zip(images.tensor_split(batches), labels.tensor_split(batches), strict=True):
            for position, logits in supernet.forward_each(x, paths):
                hits[position] += (logits.argmax(1) == y).sum()
    return [100 * count / len(images) for count in hits.tolist()]


def best(scores: ArrayLike, number: int) -> list[int]:
    """Indices of the highest scores, best first; of equal ones the first."""
    order: list[int] = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist()
    return order[:number]


def first_fronts(scores: ArrayLike, params: ArrayLike, number: int, rng: np.random.Generator) -> list[int]:
    """Indices of the paths on the first Pareto fronts for few and for many parameters, front after front.

    Args:
        scores: Higher is better, shape (n,).
        params: Parameters, shape (n,).
        number: How many to take; of the front that is only taken in part, a random part.
        rng: Draws that part.
    """
    sizes = np.asarray(params, dtype=np.float64)
    small, large = pareto_fronts(scores, sizes), pareto_fronts(scores, -sizes)
    kept: list[int] = []
    for both in itertools.zip_longest(small, large, fillvalue=np.arange(0)):
        front: list[int] = np.setdiff1d(np.concatenate(both), kept).tolist()
        room = number - len(kept)
        kept += front if len(front) <= room else rng.choice(front, room, replace=False).tolist()
    return kept
