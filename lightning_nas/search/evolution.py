"""Evolutionary search."""

import numpy as np

from lightning_nas.errors import NASError, require_at_least
from lightning_nas.search.algorithm import require_probability
from lightning_nas.search.generations import GenerationalSearch
from lightning_nas.spaces import Path


class Evolution(GenerationalSearch):
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
        super().__init__(population_size, generations)
        require_at_least(1, "algorithm", population_size=population_size, num_parents=num_parents)
        require_at_least(0, "algorithm", num_mutations=num_mutations, num_crossovers=num_crossovers)
        if num_mutations + num_crossovers > population_size:
            raise NASError(
                f"algorithm.num_mutations {num_mutations} and algorithm.num_crossovers {num_crossovers} are more "
                f"than algorithm.population_size {population_size}"
            )
        require_probability(mutation_probability=mutation_probability)
        self.num_parents = num_parents
        self.num_mutations = num_mutations
        self.num_crossovers = num_crossovers
        self.mutation_probability = mutation_probability

    def breed(self, rng: np.random.Generator) -> list[Path]:
        """Mutations and crossovers of the best paths so far."""
        parents = self.top(self.num_parents)
        if not parents:
            return []
        mutated = self.take_children(self.num_mutations, lambda: self._mutation(parents, rng))
        return mutated + self.take_children(self.num_crossovers, lambda: self._crossover(parents, rng))

    def _mutation(self, parents: list[Path], rng: np.random.Generator) -> Path:
        return self.space.mutate(parents[rng.integers(len(parents))], rng, self.mutation_probability)

    def _crossover(self, parents: list[Path], rng: np.random.Generator) -> Path:
        first, second = rng.integers(len(parents), size=2)
        return self.space.crossover(parents[first], parents[second], rng)
