"""Every path of a space."""

from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path


class Exhaustive(SearchAlgorithm):
    """Scores every function of a space that can be enumerated, in its order."""

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """Finds the feasible paths.

        Raises:
            NASError: The space is too large.
        """
        super().begin(feasible, seed)
        self._left = list(reversed(feasible.paths))
        self._size = len({self.space.functional_key(path) for path in feasible.paths})

    @property
    def budget(self) -> int:
        """The functions of the space."""
        return self._size

    def ask(self, n: int) -> list[Path]:
        """The next in the order of the space."""
        asked: list[Path] = []
        while self._left and len(asked) < n:
            path = self._left.pop()
            if self.take(path):
                asked.append(path)
        return asked
