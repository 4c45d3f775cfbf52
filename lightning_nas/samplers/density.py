"""Density-aware sampling for spaces that can be enumerated."""

from typing import Literal, cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import ArrayLike, NDArray

from lightning_nas.density import Representation, mean_distances
from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.loggers import log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, of_rank_zero, require_paths
from lightning_nas.samplers.probe import draw_probe, probe_images, require_several
from lightning_nas.samplers.warmup import require_warmup, warmup_of
from lightning_nas.spaces import Path

Normalize = Literal["zscore", "none", "minmax", "sum"]

DEFAULT_TAU = 5.0

FEW = 0.05
"""An effective sample size below this part of the space leaves most paths untrained."""


class DensitySampler(PathSampler):
    """Trains paths the more often the fewer others are like them.

    Algorithm 1 of Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling::

        warm up with uniform paths
        once: for every path a, the mean distance d(a) to all others, on a fixed validation batch x_v
        from then on: a ~ M(a) = exp(d(a) / tau) / sum_i exp(d(i) / tau)          (Eq. 7)

    The paper reports that tau = 25 is almost uniform, 5 works and less than 1 enforces too much. Raw cosine
    distances lie in [0, 2], where tau = 5 would be uniform too, so the paper must scale them in a way that it
    does not state. Here they are standardised by default, which gives the described regime; ``none`` is the
    formula as printed. The effective sample size 1 / sum_a M(a)^2 says how far a temperature goes, on any
    scale: it is logged, and ``target_ess`` asks for one. In the paper M is measured once, while the supernet moves
    on; ``refresh_every`` measures it again.

    Args:
        tau: Temperature, positive, 5 unless ``target_ess`` is given. Smaller sharpens.
        target_ess: The effective sample size, as a part of the space in (0, 1], from which the temperature follows
            whenever densities are measured; None where ``tau`` is given.
        warmup_steps: Uniform steps (training batches) before densities are measured; None takes the larger of
            3 epochs and 5 % of the run. At initialisation all paths look alike, so at least 1.
        representation: What stands for a path: see ``lightning_nas.density.mean_distances``.
        normalize: How mean distances are scaled before the softmax: see ``density_distribution``.
        probe_size: Images of x_v; at least 16, where the supernet has batch-norm.
        refresh_every: Measure again after so many epochs, at the beginning of an epoch; None measures once.
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        warmup: Steps of the warm-up of this run.
        distance: Mean distance of every path, shape (size,); None during the warm-up.
        probabilities: M, shape (size,); None during the warm-up.
        temperature: tau, given or found; 0 during the warm-up.
        measured_epoch: The epoch in which densities were measured last.
    """

    options = (
        "tau",
        "target_ess",
        "warmup_steps",
        "representation",
        "normalize",
        "probe_size",
        "refresh_every",
        "paths",
    )
    state = ("probe", "warmup", "distance", "probabilities", "temperature", "measured_epoch")

    def __init__(
        self,
        tau: float | None = None,
        target_ess: float | None = None,
        warmup_steps: int | None = None,
        representation: Representation = "functional",
        normalize: Normalize = "zscore",
        probe_size: int = 64,
        refresh_every: int | None = None,
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        if tau is not None and not tau > 0:
            raise NASError(f"sampler.tau is {tau}: a temperature is positive")
        if target_ess is not None and not 0 < target_ess <= 1:
            raise NASError(f"sampler.target_ess is {target_ess}: valid are parts of the space in (0, 1]")
        if tau is not None and target_ess is not None:
            raise NASError(
                f"sampler.tau is {tau} and sampler.target_ess is {target_ess}: one follows from the other, give one"
            )
        require_warmup(warmup_steps)
        if refresh_every is not None and refresh_every < 1:
            raise NASError(f"sampler.refresh_every is {refresh_every}: valid are numbers of epochs from 1")
        require_paths(paths)
        self.tau = DEFAULT_TAU if tau is None and target_ess is None else tau
        self.target_ess = target_ess
        self.refresh_every = refresh_every
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
        self.temperature = 0.0
        self.measured_epoch = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses, before anything is trained, what could not be done after the warm-up.

        Raises:
            NASError: The space has one path or cannot be enumerated, the data has no validation images to offer or
                too few of them, or the warm-up leaves no step for the method.
        """
        assert isinstance(pl_module, SupernetModule)
        require_several(pl_module.space, "DensitySampler")
        if pl_module.space.size > ENUMERABLE:
            raise NASError(
                f"DensitySampler needs the density of every path, but the space has {pl_module.space.size:.3g}: "
                f"at most {ENUMERABLE} can be enumerated; PrototypeDensitySampler works on any space"
            )
        self.probe = self.probe or draw_probe(trainer, pl_module, self.probe_size, self.seed)
        self.warmup = self.warmup or warmup_of(trainer, self.warmup_steps)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """Uniform during the warm-up, then from M."""
        rng = generator(self.seed, Stream.PATH, step)
        if step < self.warmup:
            return tuple(module.space.sample(rng) for _ in range(self.paths))
        if self.probabilities is None or self._is_stale(trainer.current_epoch):
            self._measure(trainer, module)
        assert self.probabilities is not None
        cumulative = self.probabilities.cumsum(0)
        draws = torch.from_numpy(rng.random(self.paths)) * cumulative[-1]
        chosen = torch.searchsorted(cumulative, draws, right=True)
        return tuple(module.space[int(index)] for index in chosen)

    def _is_stale(self, epoch: int) -> bool:
        return self.refresh_every is not None and epoch - self.measured_epoch >= self.refresh_every

    def _measure(self, trainer: Trainer, module: SupernetModule) -> None:
        """Distances and M."""

        def measured() -> tuple[torch.Tensor, torch.Tensor, float]:
            images, labels = probe_images(trainer, self.probe)
            distance = mean_distances(
                module.supernet, tuple(module.space), images, labels, self.representation
            )
            tau = self.tau or temperature_for(distance, self.target_ess or 1.0, self.normalize)
            distribution = density_distribution(distance, tau, self.normalize)
            return torch.from_numpy(distance), torch.from_numpy(distribution), tau

        self.distance, self.probabilities, self.temperature = of_rank_zero(trainer, measured)
        self.measured_epoch = trainer.current_epoch
        self._report(trainer, self.probabilities)

    def _report(self, trainer: Trainer, m: torch.Tensor) -> None:
        ess = effective_sample_size(m.numpy())
        metrics = {
            "density/effective_sample_size": ess,
            "density/perplexity": float(torch.special.entr(m).sum().exp()),
            "density/max_over_min": float(m.max() / m.min()),
            "density/temperature": self.temperature,
        }
        log_metrics(trainer, metrics)
        if ess < FEW * len(m):
            rank_zero_warn(
                f"the effective sample size is {ess:.3g} of {len(m)} paths: most are hardly trained any more; raise "
                "sampler.tau, or give sampler.target_ess"
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


def effective_sample_size(m: ArrayLike) -> float:
    """1 / sum_a M(a)^2: how many equally likely paths would vary as much.

    Example:
        >>> effective_sample_size([0.5, 0.5, 0.0])
        2.0
    """
    probabilities = np.asarray(m, dtype=np.float64)
    return float(1 / (probabilities**2).sum())


def temperature_for(distance: ArrayLike, target_ess: float, normalize: Normalize) -> float:
    """The temperature at which the effective sample size is a given part of the space.

    It rises with the temperature, so that halving an interval finds it. Where the target is out of reach, as where
    several paths are equally far from all others, the nearest temperature in [1e-6, 1e6] is taken.

    Args:
        distance: Mean distances, shape (n,).
        target_ess: In (0, 1].
        normalize: As for ``density_distribution``.

    Example:
        >>> tau = temperature_for([0.336642, 0.30842, 0.374756, 1.0], 3.8134 / 4, "zscore")
        >>> round(tau, 2)
        5.0
    """
    d = np.asarray(distance, dtype=np.float64)
    low, high = -6.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        if effective_sample_size(density_distribution(d, 10**middle, normalize)) < target_ess * len(d):
            low = middle
        else:
            high = middle
    return float(10**high)
