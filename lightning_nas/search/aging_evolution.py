"""Regularised evolution, in which paths die of age."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from lightning_nas.errors import NASError, require_at_least
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path


class AgingEvolution(SearchAlgorithm):
    """Replaces the oldest path by a mutation of the best of a few.

    Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, Algorithm 1::

        population = random paths
        repeat:
            sample some of the population, with repetition
            child = the best of them with one decision changed
            the child joins the population, its oldest member leaves it

    The paper scores a child again that was scored before; here a child is one of the new neighbours of its parent,
    and a random path where all are known. Every child waits for the score of the one before it, so several ranks
    do not make it faster.

    Args:
        evaluations: Paths that are scored in all, at least the population.
        population_size: Paths that live at a time, at least 1; 100 in the paper, for 20,000 evaluations.
        sample_size: Paths from whose best the child comes, at least 1; 25 in the paper.
    """

    def __init__(self, evaluations: int = 1000, population_size: int = 50, sample_size: int = 10) -> None:
        require_at_least(1, "algorithm", population_size=population_size, sample_size=sample_size)
        if evaluations < population_size:
            raise NASError(
                f"algorithm.evaluations is {evaluations}, but algorithm.population_size alone is {population_size}"
            )
        self.evaluations = evaluations
        self.population_size = population_size
        self.sample_size = sample_size

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """Nobody lives yet."""
        super().begin(feasible, seed)
        self.population: deque[Path] = deque(maxlen=self.population_size)

    @property
    def budget(self) -> int:
        """The number given."""
        return self.evaluations

    def ask(self, n: int) -> list[Path]:
        """The first population, then one child at a time."""
        known = len(self.scores)
        rng = self.rng(known)
        if known < self.population_size:
            return self.take_randoms(min(n, self.population_size - known), rng)
        if known >= self.evaluations:
            return []
        child = self._child(rng)
        return [] if child is None else [child]

    def tell(self, paths: Sequence[Path], scores: Sequence[float]) -> None:
        """The paths join the population."""
        super().tell(paths, scores)
        self.population.extend(paths)

    def _child(self, rng: np.random.Generator) -> Path | None:
        drawn = [self.population[i] for i in rng.integers(len(self.population), size=self.sample_size)]
        neighbours = list(self.space.neighbours(max(drawn, key=lambda path: self.scores[path])))
        for number in rng.permutation(len(neighbours)):
            neighbour: Path = neighbours[int(number)]
            if self.take(neighbour):
                return neighbour
        return self.take_random(rng)
