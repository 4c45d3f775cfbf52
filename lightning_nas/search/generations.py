"""Searches that score a population at a time."""

from abc import abstractmethod

import numpy as np

from lightning_nas.errors import require_at_least
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path


class GenerationalSearch(SearchAlgorithm):
    """Begins with random paths; each generation is bred when all of the one before are scored.

    Args:
        population_size: Paths of a generation.
        generations: Those after the first, random one, from 0.

    Attributes:
        latest: The paths of the generation that was bred last.
    """

    def __init__(self, population_size: int, generations: int) -> None:
        require_at_least(0, "algorithm", generations=generations)
        self.population_size = population_size
        self.generations = generations

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """No generation yet."""
        super().begin(feasible, seed)
        self.generation = 0
        self.latest: list[Path] = []
        self._pending: list[Path] = []

    @property
    def budget(self) -> int:
        """A population for every generation and the first one."""
        return self.population_size * (1 + self.generations)

    def ask(self, n: int) -> list[Path]:
        """What is left of the generation, or else the next one."""
        if not self._pending and self.generation <= self.generations:
            rng = self.rng(self.generation)
            children = self.breed(rng) if self.generation else []
            self.latest = children + self.take_randoms(self.population_size - len(children), rng)
            self._pending = list(self.latest)
            self.generation += 1
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    @abstractmethod
    def breed(self, rng: np.random.Generator) -> list[Path]:
        """Children of what is scored, at most a population, each of them taken; random paths make up for the rest."""
