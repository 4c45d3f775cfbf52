"""Boltzmann softmax exploration."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lightning_nas.errors import NASError, require_at_least
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.constraints import FeasibleSpace
from lightning_nas.spaces import Path

Floats = NDArray[np.float64]

FEW = 500
"""Feasible functions up to which each has a value of its own."""

TRIES = 20
"""Draws that may be outside of the limits, before the way from the last one into them is looked for."""


def softmax(values: Floats, sharpness: float) -> Floats:
    """``exp(sharpness * values)``, scaled to sum to 1.

    Example:
        >>> softmax(np.array([0.90, 0.92, 0.88]), sharpness=10).round(6).tolist()
        [0.328933, 0.40176, 0.269307]
    """
    powers: Floats = np.exp(sharpness * (values - values.max()))
    probabilities: Floats = powers / powers.sum()
    return probabilities


class Boltzmann(SearchAlgorithm):
    """Draws paths by a softmax over what single batches said of them, sharper and sharper.

    Sutton and Barto, Reinforcement Learning (2018), Sec. 2.8, where it is a way to explore; Balanced Mixture of
    SuperNets and the density-aware paper name it for search without any numbers. Step n of N::

        draw a path with probability softmax(k_n Q), k_n from 1 to 100
        r = its accuracy (0 to 1) on the next batch of validation images
        Q <- r on the first visit, .9 Q + .1 r on later ones

    and in the end the best paths are scored on all images. The sharpness, the average and its first values are those
    of the released code of Balanced Mixture of SuperNets.

    Where a space has at most 500 functions that are feasible, every one has a value Q, and is visited once before
    anything else. In larger spaces every choice of every decision has one, from 1 at first, so that all are tried;
    a path is drawn decision by decision, and its reward goes to all of its choices. Draws outside of the limits are
    repeated; where all of twenty are, the last one is changed decision by decision until it is inside. The noise of a reward, about .03
    with 128 images, is larger than the differences of good paths: a mean over visits tells them apart.

    Args:
        evaluations: Batches that are scored, at least 1; None is ten per function, at most 5000.
        num_rescored: Paths that are scored on all images in the end, at least 1.
        decay: Of the average of rewards, from 0 to below 1.
        sharpness: The last k, above 0.
    """

    def __init__(
        self,
        evaluations: int | None = None,
        num_rescored: int = 10,
        decay: float = 0.9,
        sharpness: float = 100.0,
    ) -> None:
        require_at_least(1, "algorithm", num_rescored=num_rescored)
        if evaluations is not None:
            require_at_least(1, "algorithm", evaluations=evaluations)
        if not 0 <= decay < 1:
            raise NASError(f"algorithm.decay is {decay}: valid are numbers from 0 to below 1")
        if sharpness <= 0:
            raise NASError(f"algorithm.sharpness is {sharpness}: valid are numbers above 0")
        self.evaluations = evaluations
        self.num_rescored = num_rescored
        self.decay = decay
        self.sharpness = sharpness

    def begin(self, feasible: FeasibleSpace, seed: int) -> None:
        """Nothing was visited."""
        super().begin(feasible, seed)
        functions: dict[object, Path] = {}
        if self.space.size <= ENUMERABLE:
            for path in feasible.paths:
                functions.setdefault(self.space.functional_key(path), path)
        self._few = tuple(functions.values()) if len(functions) <= FEW else ()
        self._steps = self.evaluations or (min(5000, 10 * len(functions)) if functions else 5000)
        # A value for every path, or for every choice of every decision.
        shape = [len(self._few)] if self._few else list(self.space.num_choices)
        self.values = [np.ones(number) for number in shape]
        self._first = [np.ones(number, dtype=bool) for number in shape]
        self._visited: dict[Path, int] = {}
        self.step = 0
        self._rescored: list[Path] | None = None

    @property
    def budget(self) -> int:
        """Batches, and the paths that are scored on all images."""
        return self._steps + self.num_rescored

    @property
    def one_batch(self) -> bool:
        """Until the best paths are scored."""
        return self.step < self._steps

    def ask(self, n: int) -> list[Path]:
        """One path for one batch, and in the end the best."""
        if self.one_batch:
            return [self._draw(self.rng(self.step))]
        if self._rescored is None:
            best = sorted(self._visited, key=lambda path: -self.value(path))
            self._rescored = list(islice(filter(self.take, best), self.num_rescored))
        asked, self._rescored = self._rescored[:n], self._rescored[n:]
        return asked

    def tell(self, paths: Sequence[Path], scores: Sequence[float]) -> None:
        """Averages the reward, a score in percent of one batch; keeps scores of all images."""
        if not self.one_batch:
            super().tell(paths, scores)
            return
        for path, score in zip(paths, scores, strict=True):
            self._visited[path] = self._visited.get(path, 0) + 1
            for values, first, choice in zip(self.values, self._first, self._indices(path), strict=True):
                reward = score / 100
                values[choice] = (
                    reward if first[choice] else self.decay * values[choice] + (1 - self.decay) * reward
                )
                first[choice] = False
            self.step += 1

    def value(self, path: Path) -> float:
        """Q of a path, or the mean Q of its choices."""
        pairs = zip(self.values, self._indices(path), strict=True)
        return float(np.mean([values[index] for values, index in pairs]))

    def _indices(self, path: Path) -> Path:
        return (self._few.index(path),) if self._few else path

    def _draw(self, rng: np.random.Generator) -> Path:
        if self._few and self._first[0].any():
            return self._few[rng.choice(np.flatnonzero(self._first[0]))]
        sharpness = 1 + (self.sharpness - 1) * self.step / self._steps
        if self._few:
            return self._few[rng.choice(len(self._few), p=softmax(self.values[0], sharpness))]
        for _ in range(TRIES):
            if (path := self._draw_choices(sharpness, rng)) in self.feasible:
                return path
        return self.feasible.near(path, rng) or self.feasible.sample(rng)

    def _draw_choices(self, sharpness: float, rng: np.random.Generator) -> Path:
        path: Path = ()
        for values, choices in zip(self.values, self.space.choices, strict=True):
            possible = [choice for choice in choices if self.space.count((*path, choice))]
            path = (*path, possible[rng.choice(len(possible), p=softmax(values[possible], sharpness))])
        return path
