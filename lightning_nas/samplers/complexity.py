"""Sampling in proportion to complexity."""

from typing import Literal

import numpy as np
from lightning import Trainer
from numpy.typing import NDArray

from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, require_paths
from lightning_nas.spaces import Path, SearchSpace
from lightning_nas.spaces.extremes import extreme_costs


class ComplexitySampler(PathSampler):
    """Trains paths in proportion to their cost: p(a) = C(a) / sum_i C(i).

    The alternative to a complexity-aware learning rate in Jeon et al., Subnet-Aware Dynamic Supernet Training for
    Neural Architecture Search, CVPR 2025, supplement C.4, Table G, which samples "subnets with probabilities
    proportional to their complexities". The complexity is the number of parameters (Sec. 3.2.1). How the
    probabilities were combined with FairNAS there is not stated.

    Spaces that can be enumerated are drawn from exactly. In larger ones a uniform path is accepted with probability
    C(a) / C_max, which gives the same distribution. C_max is found by climbing from path to path while one decision
    more makes them larger, and raised should a larger path be drawn.

    Args:
        cost: C: parameters or multiply-adds of the stand-alone network. Where all paths have the same, as the
            parameters of most ``Pooling`` spaces, sampling is uniform.
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        largest: C_max; 0 while it is not known, or not needed.
    """

    options = ("cost", "paths")
    state = ("largest",)

    def __init__(
        self,
        cost: Literal["params", "macs"] = "params",
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        require_paths(paths)
        self.cost: Literal["params", "macs"] = cost
        self.paths = paths
        super().__init__(seed)

    def begin(self) -> None:
        """No cost is known yet."""
        self.largest = 0
        self._cumulative: NDArray[np.int64] | None = None

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """``paths`` independent draws, by whole numbers alone: they are the same on every machine."""
        rng = generator(self.seed, Stream.PATH, step)
        draw = self._listed if module.space.size <= ENUMERABLE else self._accepted
        return tuple(draw(module.space, rng) for _ in range(self.paths))

    def _listed(self, space: SearchSpace, rng: np.random.Generator) -> Path:
        """From the list of all paths."""
        if self._cumulative is None:
            self._cumulative = np.cumsum([self._cost(space, path) for path in space])
        number = rng.integers(self._cumulative[-1])
        return space[int(np.searchsorted(self._cumulative, number, side="right"))]

    def _accepted(self, space: SearchSpace, rng: np.random.Generator) -> Path:
        """By rejection."""
        self.largest = self.largest or extreme_costs(space, self.cost)[1]
        while True:
            path = space.sample(rng)
            cost = self._cost(space, path)
            self.largest = max(self.largest, cost)
            if rng.integers(self.largest) < cost:
                return path

    def _cost(self, space: SearchSpace, path: Path) -> int:
        return int(getattr(space.cost(path), self.cost))
