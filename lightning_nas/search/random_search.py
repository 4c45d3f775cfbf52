"""Random paths."""

from lightning_nas.errors import require_at_least
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.spaces import Path


class RandomSearch(SearchAlgorithm):
    """Scores random paths: the baseline of every other algorithm, and with 50 the one-shot search of many papers.

    Args:
        evaluations: Paths that are scored, at least 1; fewer, where a space has fewer.
    """

    def __init__(self, evaluations: int = 1000) -> None:
        require_at_least(1, "algorithm", evaluations=evaluations)
        self.evaluations = evaluations

    @property
    def budget(self) -> int:
        """The number given."""
        return self.evaluations

    def ask(self, n: int) -> list[Path]:
        """Random paths, each of a draw of its own."""
        asked: list[Path] = []
        while len(asked) < min(n, self.evaluations - len(self.scores)):
            path = self.take_random(self.rng(len(self.scores) + len(asked)))
            if path is None:
                break
            asked.append(path)
        return asked
