"""Evolutionary search."""

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.search.algorithm import SearchAlgorithm, require_at_least, require_probability
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path


class Evolution(SearchAlgorithm):
    """Breeds generations from the best paths found so far.

    Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020, Algorithm 1::

        population = random paths
        in every generation:
            parents = the best paths so far
            population = mutated parents, crossed parents, and random paths for what is missing

    A mutation redraws every decision of a parent with a given probability; a crossover takes every decision from one
    of two parents. Every wanted child has ten attempts to be feasible and new.

    In the released code the last generation never becomes parents, so that its 50 paths are scored for nothing, and
    the random paths are looked for without end where none is left. Here the best of all generations is found, and a
    search ends where there is nothing new. Equal scores are not decided by the top-5 accuracy, but in favour of
    the path found first.

    Args:
        population_size: Paths of a generation, at least 1.
        generations: Those after the first, random one, from 0.
        num_parents: The best paths that have children, at least 1.
        num_mutations: Children by mutation in a generation.
        num_crossovers: Children by crossover in a generation.
        mutation_probability: Of a decision to be redrawn, above 0 and at most 1.
    """

    def __init__(
        self,
        population_size: int = 50,
        generations: int = 20,
        num_parents: int = 10,
        num_mutations: int = 25,
        num_crossovers: int = 25,
        mutation_probability: float = 0.1,
    ) -> None:
        require_at_least(1, population_size=population_size, num_parents=num_parents)
        require_at_least(
            0, generations=generations, num_mutations=num_mutations, num_crossovers=num_crossovers
        )
        if num_mutations + num_crossovers > population_size:
            raise NASError(
                f"algorithm.num_mutations {num_mutations} and algorithm.num_crossovers {num_crossovers} are more "
                f"than algorithm.population_size {population_size}"
            )
        require_probability(mutation_probability=mutation_probability)
        self.population_size = population_size
        self.generations = generations
        self.num_parents = num_parents
        self.num_mutations = num_mutations
        self.num_crossovers = num_crossovers
        self.mutation_probability = mutation_probability

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """No generation yet."""
        super().begin(feasible, seed)
        self.generation = 0
        self._pending: list[Path] = []

    @property
    def budget(self) -> int:
        """A population for every generation and the first one."""
        return self.population_size * (1 + self.generations)

    def ask(self, n: int) -> list[Path]:
        """What is left of the generation, or else the next one."""
        if not self._pending and self.generation <= self.generations:
            self._pending = self._breed(self.rng(self.generation))
            self.generation += 1
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    def _breed(self, rng: np.random.Generator) -> list[Path]:
        children: list[Path] = []
        if parents := self.top(self.num_parents):
            children += self.take_children(self.num_mutations, lambda: self._mutation(parents, rng))
            children += self.take_children(self.num_crossovers, lambda: self._crossover(parents, rng))
        return children + self.take_randoms(self.population_size - len(children), rng)

    def _mutation(self, parents: list[Path], rng: np.random.Generator) -> Path:
        return self.space.mutate(parents[rng.integers(len(parents))], rng, self.mutation_probability)

    def _crossover(self, parents: list[Path], rng: np.random.Generator) -> Path:
        first, second = rng.integers(len(parents), size=2)
        return self.space.crossover(parents[first], parents[second], rng)
