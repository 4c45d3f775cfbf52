"""Uniform sampling: the baseline, and the warm-up of other methods."""

from lightning import Trainer

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler
from lightning_nas.spaces import Path


class UniformSampler(PathSampler):
    """Every path is equally likely at every step (Guo et al., Single Path One-Shot NAS, ECCV 2020, Eq. 8).

    Args:
        paths: Paths per step, all trained on the same batch (S in Ning et al., Evaluating Efficient
            Performance Estimators, NeurIPS 2021, Sec. 5.4), at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.
    """

    options = ("paths",)

    def __init__(self, paths: int = 1, seed: int | None = None) -> None:
        if paths < 1:
            raise NASError(f"sampler.paths is {paths}: a step trains at least one path")
        self.paths = paths
        super().__init__(seed)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """``paths`` independent draws."""
        rng = generator(self.seed, Stream.PATH, step)
        return tuple(module.space.sample(rng) for _ in range(self.paths))
