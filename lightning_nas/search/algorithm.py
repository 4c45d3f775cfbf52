"""What a search algorithm is: it asks for scores of paths, and is told them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.random import Stream, generator
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path

ATTEMPTS = 10
"""Draws per child that is wanted."""

TRIES = 1000
"""Random paths that are tried before the rest of a space is enumerated, or the search ends."""


class SearchAlgorithm(ABC):
    """Chooses which paths are scored.

    A search is a dialogue: ``ask`` says which paths to score next, ``tell`` what they scored, until nothing is asked
    any more. Everything follows from the seed and the scores, without other state: so a search that was interrupted
    is continued by telling it again what it knew, and all ranks ask for the same. Paths of one functional key are one
    function, and only one of them is ever asked for.
    """

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """Forgets everything, and starts anew.

        Args:
            feasible: Where paths come from.
            seed: Of all draws, non-negative.

        Raises:
            NASError: The space does not suit the algorithm.
        """
        self.feasible = feasible
        self.space = feasible.space
        self.seed = seed
        self.scores: dict[Path, float] = {}
        self._taken: set[Hashable] = set()

    @property
    @abstractmethod
    def budget(self) -> int:
        """The most paths that it asks for."""

    @abstractmethod
    def ask(self, n: int) -> list[Path]:
        """At most ``n`` paths to score next, of which each must be told; none, when the search has ended."""

    def tell(self, paths: Sequence[Path], scores: Sequence[float]) -> None:
        """Learns the scores of paths that were asked for; higher is better."""
        self.scores.update(zip(paths, scores, strict=True))

    @property
    def one_batch(self) -> bool:
        """Whether the paths asked for are to be scored on one batch of images, each on another, and not on all."""
        return False

    def top(self, k: int) -> list[Path]:
        """The ``k`` paths of the highest scores; of equal ones the first found."""
        return sorted(self.scores, key=lambda path: -self.scores[path])[:k]

    # ---------------------------------------------------------------------------------------- for algorithms

    def rng(self, *counters: int) -> np.random.Generator:
        """The generator of one draw, which is counted by ``counters``."""
        return generator(self.seed, Stream.SEARCH, *counters)

    def take(self, path: Path) -> bool:
        """Whether a path is feasible and its function was not asked for before; from now on it was."""
        if path not in self.feasible or (key := self.space.functional_key(path)) in self._taken:
            return False
        self._taken.add(key)
        return True

    def take_random(self, rng: np.random.Generator) -> Path | None:
        """A random path that was not asked for before; None where there is none left."""
        for _ in range(TRIES):
            if self.take(path := self.feasible.sample(rng)):
                return path
        if self.space.size > ENUMERABLE:
            return None
        left = [path for path in self.feasible.paths if self.space.functional_key(path) not in self._taken]
        if not left:
            return None
        path = left[rng.integers(len(left))]
        self.take(path)
        return path

    def take_randoms(self, number: int, rng: np.random.Generator) -> list[Path]:
        """Up to ``number`` random paths that were not asked for before."""
        taken: list[Path] = []
        while len(taken) < number and (path := self.take_random(rng)) is not None:
            taken.append(path)
        return taken

    def take_children(self, number: int, breed: Callable[[], Path]) -> list[Path]:
        """Up to ``number`` of the paths that ``breed`` draws, of ten draws for each."""
        taken: list[Path] = []
        for _ in range(ATTEMPTS * number):
            if len(taken) == number:
                break
            if self.take(child := breed()):
                taken.append(child)
        return taken


def require_probability(**values: float) -> None:
    """Refuses what is no probability of anything happening.

    Raises:
        NASError: One of the values, which are given by name, is 0, negative, or above 1.
    """
    for name, value in values.items():
        if not 0 < value <= 1:
            raise NASError(f"algorithm.{name} is {value}: valid are numbers above 0 up to 1")
