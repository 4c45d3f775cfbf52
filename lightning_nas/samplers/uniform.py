"""Uniform sampling: the baseline, and the warm-up of other methods."""

import math
from typing import Literal

import numpy as np
from lightning import LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, require_paths
from lightning_nas.spaces import Path, Supernet

PROBED = 5000
"""Paths that are looked at to find out whether any will be accepted."""


class UniformSampler(PathSampler):
    """Every path is equally likely at every step (Guo et al., Single Path One-Shot NAS, ECCV 2020, Eq. 8).

    With a ``window``, as in the released code, one of its bins is chosen uniformly and
    paths are drawn until one lies in the bin. If none of ``tries`` does, the path is an unconstrained draw; the
    share of these is logged as ``sampler/fallback_rate``.

    Args:
        paths: Paths per step, all trained on the same batch (S in Ning et al., Evaluating Efficient
            Performance Estimators, NeurIPS 2021, Sec. 5.4), at least 1.
        window: Smallest and largest cost of the paths, both included; None for all paths. In the released code
            290 to 360 million multiply-adds.
        bins: Parts of the window, equally wide and equally often chosen. In the released code 7.
        cost: What the window bounds: multiply-adds or parameters of the stand-alone network.
        reject_weightless: Draw again where no choice of a path trains weights of its own: in NAS-Bench-201 those
            without a convolution between input and output, 1,983 of 15,625, as in the released code of Ning et
            al. The paper of Guo et al. and others train them.
        tries: Draws until a path is taken as it comes, at least 1. In the released code 500.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        fallbacks: Paths of this run that were taken as they came.
    """

    options = ("paths", "window", "bins", "cost", "reject_weightless", "tries")
    state = ("fallbacks",)

    def __init__(
        self,
        paths: int = 1,
        window: tuple[float, float] | None = None,
        bins: int = 1,
        cost: Literal["macs", "params"] = "macs",
        reject_weightless: bool = False,
        tries: int = 500,
        seed: int | None = None,
    ) -> None:
        require_paths(paths)
        if window is not None and not (len(window) == 2 and 0 <= window[0] <= window[1] < math.inf):
            raise NASError(f"sampler.window is {window}: valid are two costs in ascending order")
        if bins < 1:
            raise NASError(f"sampler.bins is {bins}: a window has at least one")
        if tries < 1:
            raise NASError(f"sampler.tries is {tries}: a path takes at least one draw")
        self.paths = paths
        self.window = window
        low, high = window or (0, 0)
        self._edges: list[float] = np.linspace(low, high, bins + 1).tolist()
        self.bins = bins
        self.cost: Literal["macs", "params"] = cost
        self.reject_weightless = reject_weightless
        self.tries = tries
        super().__init__(seed)

    def begin(self) -> None:
        """No path yet."""
        self.fallbacks = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what accepts no path.

        Raises:
            NASError: None of a few thousand paths lies in the window and trains weights of its own.
        """
        assert isinstance(pl_module, SupernetModule)
        if self.window is None and not self.reject_weightless:
            return
        probed = select_paths(pl_module.space, PROBED, self.seed)
        if any(self._accepts(pl_module, path, self.window) for path in probed):
            return
        paths = "the space" if len(probed) == pl_module.space.size else f"{len(probed)} random paths"
        costs = [getattr(pl_module.space.cost(path), self.cost) for path in probed]
        raise NASError(
            f"sampler.window is {self.window} with sampler.reject_weightless {self.reject_weightless}, which accepts "
            f"none of {paths}: their {self.cost} are {min(costs)} to {max(costs)}"
        )

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """``paths`` independent draws."""
        rng = generator(self.seed, Stream.PATH, step)
        paths = tuple(self._draw(module, rng) for _ in range(self.paths))
        if self.window is not None or self.reject_weightless:
            rate = self.fallbacks / (self.paths * (step + 1))
            self.log_metrics(trainer, {"sampler/fallback_rate": rate})
        return paths

    def _draw(self, module: SupernetModule, rng: np.random.Generator) -> Path:
        bin_ = self._bin(rng)
        for _ in range(self.tries):
            path = module.space.sample(rng)
            if self._accepts(module, path, bin_):
                return path
        self.fallbacks += 1
        return module.space.sample(rng)

    def _bin(self, rng: np.random.Generator) -> tuple[float, float] | None:
        """One part of the window."""
        if self.window is None:
            return None
        number = rng.integers(self.bins)
        return self._edges[number], self._edges[number + 1]

    def _accepts(self, module: SupernetModule, path: Path, bin_: tuple[float, float] | None) -> bool:
        if bin_ is not None and not bin_[0] <= getattr(module.space.cost(path), self.cost) <= bin_[1]:
            return False
        return not self.reject_weightless or _trains_choices(module.supernet, path)


def _trains_choices(supernet: Supernet, path: Path) -> bool:
    """Whether training ``path`` changes weights that belong to one of its choices."""
    trained = {id(parameter) for parameter in supernet.path_parameters(path)}
    owned = (
        part for decision, choice in enumerate(path) for part in supernet.choice_parameters(decision, choice)
    )
    return any(id(part.parameter) in trained for part in owned)
