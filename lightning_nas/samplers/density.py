"""Density-aware sampling for spaces that can be enumerated."""

from typing import Literal, cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import ArrayLike, NDArray

from lightning_nas.data import ImageDataModule
from lightning_nas.density import Representation, mean_distances, probe_indices
from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, of_rank_zero
from lightning_nas.samplers.warmup import warmup_of
from lightning_nas.spaces import Path

Normalize = Literal["zscore", "none", "minmax", "sum"]


class DensitySampler(PathSampler):
    """Trains paths the more often the fewer others are like them.

    Algorithm 1 of Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling::

        warm up with uniform paths
        once: for every path a, the mean distance d(a) to all others, on a fixed validation batch x_v
        from then on: a ~ M(a) = exp(d(a) / tau) / sum_i exp(d(i) / tau)          (Eq. 7)

    The paper reports that tau = 25 is almost uniform, 5 works and less than 1 enforces too much. Raw cosine
    distances lie in [0, 2], where tau = 5 would be uniform too, so the paper must scale them in a way that it
    does not state. Here they are standardised by default, which gives the described regime; ``none`` is the
    formula as printed.

    Args:
        tau: Temperature, positive. Smaller sharpens.
        warmup_steps: Uniform steps (training batches) before densities are measured; None takes the larger of
            3 epochs and 5 % of the run. At initialisation all paths look alike, so at least 1.
        representation: What stands for a path: see ``lightning_nas.density.mean_distances``.
        normalize: How mean distances are scaled before the softmax: see ``density_distribution``.
        probe_size: Images of x_v.
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        warmup: Steps of the warm-up of this run.
        distance: Mean distance of every path, shape (size,); None during the warm-up.
        probabilities: M, shape (size,); None during the warm-up.
    """

    options = ("tau", "warmup_steps", "representation", "normalize", "probe_size", "paths")
    state = ("probe", "warmup", "distance", "probabilities")

    def __init__(
        self,
        tau: float = 5.0,
        warmup_steps: int | None = None,
        representation: Representation = "functional",
        normalize: Normalize = "zscore",
        probe_size: int = 64,
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        if not tau > 0:
            raise NASError(f"sampler.tau is {tau}: a temperature is positive")
        if warmup_steps is not None and warmup_steps < 1:
            raise NASError(
                f"sampler.warmup_steps is {warmup_steps}: untrained paths all look alike, so it is at least 1"
            )
        if paths < 1:
            raise NASError(f"sampler.paths is {paths}: a step trains at least one path")
        self.tau = tau
        self.warmup_steps = warmup_steps
        self.representation: Representation = representation
        self.normalize: Normalize = normalize
        self.probe_size = probe_size
        self.paths = paths
        super().__init__(seed)

    def begin(self) -> None:
        """No densities yet."""
        self.probe: tuple[int, ...] = ()
        self.warmup = 0
        self.distance: torch.Tensor | None = None
        self.probabilities: torch.Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses, before anything is trained, what could not be done after the warm-up.

        Raises:
            NASError: The space cannot be enumerated, the data has no validation images to offer or too few of
                them, or the warm-up leaves no step for the method.
        """
        assert isinstance(pl_module, SupernetModule)
        if pl_module.space.size > ENUMERABLE:
            raise NASError(
                f"DensitySampler needs the density of every path, but the space has {pl_module.space.size:.3g}: "
                f"at most {ENUMERABLE} can be enumerated"
            )
        self.probe = self.probe or probe_indices(_data(trainer).num_val, self.probe_size, self.seed)
        self.warmup = self.warmup or warmup_of(trainer, self.warmup_steps)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """Uniform during the warm-up, then from M."""
        rng = generator(self.seed, Stream.PATH, step)
        if step < self.warmup:
            return tuple(module.space.sample(rng) for _ in range(self.paths))
        if self.probabilities is None:
            self._measure(trainer, module)
        assert self.probabilities is not None
        cumulative = self.probabilities.cumsum(0)
        draws = torch.from_numpy(rng.random(self.paths)) * cumulative[-1]
        chosen = torch.searchsorted(cumulative, draws, right=True)
        return tuple(module.space[int(index)] for index in chosen.clamp(max=module.space.size - 1))

    def _measure(self, trainer: Trainer, module: SupernetModule) -> None:
        """Distances and M."""

        def measured() -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = _data(trainer).validation_images(self.probe)
            distance = mean_distances(
                module.supernet, tuple(module.space), images, labels, self.representation
            )
            distribution = density_distribution(distance, self.tau, self.normalize)
            return torch.from_numpy(distance), torch.from_numpy(distribution)

        self.distance, self.probabilities = of_rank_zero(trainer, measured)
        ess = 1 / (self.probabilities**2).sum()
        ratio = self.probabilities.max() / self.probabilities.min()
        for logger in trainer.loggers:
            logger.log_metrics(
                {"density/effective_sample_size": float(ess), "density/max_over_min": float(ratio)},
                step=trainer.global_step,
            )


def density_distribution(distance: ArrayLike, tau: float, normalize: Normalize) -> NDArray[np.float64]:
    """M_tau, the probability of every path (Eq. 7).

    Args:
        distance: Mean distances, shape (n,).
        tau: Temperature, positive.
        normalize: ``zscore`` standardises the distances (population deviation), ``minmax`` maps them to
            [0, 1], ``sum`` takes the sum over the n - 1 others instead of the mean, ``none`` leaves them.
            Where all are equal, the distribution is uniform.

    Returns:
        Probabilities that add up to 1, shape (n,).

    Example:
        >>> density_distribution([0.336642, 0.30842, 0.374756, 1.0], tau=5, normalize="zscore").round(4).tolist()
        [0.2176, 0.2134, 0.2235, 0.3456]
    """
    d = np.asarray(distance, dtype=np.float64)
    spread = {"zscore": d.std(), "minmax": np.ptp(d), "sum": 1 / (len(d) - 1), "none": 1.0}[normalize]
    offset = d.max()
    # Rounding noise between equal distances must not be blown up to a difference of one deviation.
    logits = np.zeros_like(d) if spread < 1e-12 else (d - offset) / spread / tau
    weights = np.exp(logits)
    return cast("NDArray[np.float64]", weights / weights.sum())


def _data(trainer: Trainer) -> ImageDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, ImageDataModule):
        raise NASError(
            "densities are measured on validation images of the data module: pass an ImageDataModule to the Trainer"
        )
    return data
