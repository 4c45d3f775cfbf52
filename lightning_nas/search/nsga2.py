"""Search for the whole front of accuracy against cost."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from lightning_nas.errors import NASError, require_at_least
from lightning_nas.search.algorithm import require_probability
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.search.generations import GenerationalSearch
from lightning_nas.spaces import Path

CostName = Literal["params", "macs", "latency"]


class NSGA2(GenerationalSearch):
    """Evolves a population towards all paths that no other beats in both score and cost.

    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE Transactions on Evolutionary
    Computation 2002::

        population = random paths
        in every generation:
            children = mutated crossings of winners of tournaments between two,
                       by front, and within a front by crowding distance
            population = of population and children the first fronts, and of the last one the least crowded

    The sorting is that of pymoo (extra ``search``). Crossing and mutation are those of ``Evolution``; children are new
    and feasible, and where none are found within ten attempts each, random paths fill up.

    Args:
        cost: What is to be low: ``params``, ``macs``, or the ``latency`` of the table that is given as a limit.
        population_size: Paths that are kept and bred in a generation, at least 2.
        generations: Those after the first, random one, from 0.
        mutation_probability: Of a decision to be redrawn, above 0 and at most 1.
    """

    def __init__(
        self,
        cost: CostName = "macs",
        population_size: int = 50,
        generations: int = 20,
        mutation_probability: float = 0.1,
    ) -> None:
        super().__init__(population_size, generations)
        require_at_least(2, "algorithm", population_size=population_size)
        require_probability(mutation_probability=mutation_probability)
        self.cost: CostName = cost
        self.mutation_probability = mutation_probability

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """No generation yet.

        Raises:
            NASError: pymoo is not installed, or there is no table of latencies to look at.
        """
        super().begin(feasible, seed)
        try:
            from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
        except ImportError as error:
            raise NASError(
                "algorithm NSGA2 needs pymoo, which is not installed: pip install 'lightning-nas[search]'"
            ) from error
        self._survival = RankAndCrowding()
        self._cost_of = self._cost_function()
        self._population: Any = None

    def _cost_function(self) -> Callable[[Path], float]:
        if self.cost != "latency":
            return lambda path: float(getattr(self.space.cost(path), self.cost))
        for constraint in self.feasible.constraints:
            if constraint.name == "latency":
                return constraint.value
        raise NASError("algorithm.cost is latency: give a table of latencies, latency.table")

    def breed(self, rng: np.random.Generator) -> list[Path]:
        """Mutated crossings of what is left of population and children."""
        self._select(rng)
        return self._children(rng)

    def _select(self, rng: np.random.Generator) -> None:
        """The latest generation joins the population, and the best stay."""
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem

        paths = np.empty(len(self.latest), dtype=object)
        paths[:] = self.latest
        children = Population.new(
            path=paths, F=np.array([[-self.scores[path], self._cost_of(path)] for path in self.latest])
        )
        merged = children if self._population is None else Population.merge(self._population, children)
        # Without a generator of ours pymoo takes one that the time seeds.
        self._population = self._survival.do(
            Problem(n_obj=2), merged, n_survive=min(self.population_size, len(merged)), random_state=rng
        )

    def _children(self, rng: np.random.Generator) -> list[Path]:
        # numpy makes a table of them.
        paths: list[Path] = [tuple(path) for path in self._population.get("path").tolist()]
        # Lexicographic: a better front first, then the more room around it.
        keys = list(zip(self._population.get("rank"), -self._population.get("crowding"), strict=True))

        def winner() -> Path:
            first, second = rng.integers(len(paths), size=2)
            return paths[int(first if keys[first] <= keys[second] else second)]

        def breed() -> Path:
            crossed = self.space.crossover(winner(), winner(), rng)
            return self.space.mutate(crossed, rng, self.mutation_probability)

        return self.take_children(self.population_size, breed)
