"""Density-aware sampling for spaces of any size."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lightning_nas.density import UnitRepresentation
from lightning_nas.density.prototypes import (
    Beta,
    cluster,
    cosine_distances,
    represent,
    spread,
    update,
    warn_of_collapse,
)
from lightning_nas.errors import NASError
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.acceptance import (
    Mid,
    acceptance,
    middle,
    require_acceptance,
    robust_deviation,
    threshold_for,
)
from lightning_nas.samplers.base import PathSampler, of_rank_zero
from lightning_nas.samplers.probe import draw_probe, probe_images, require_several
from lightning_nas.samplers.warmup import require_warmup, warmup_of
from lightning_nas.spaces import Path

CLOSEST = 1e-6
"""Mean distances below this are raised to it: the density is their inverse."""

MEAN_RATE = 0.01
"""How fast the mean vector follows the supernet."""


class Proposal(NamedTuple):
    """A path that was looked at.

    Attributes:
        path: Drawn uniformly.
        y: Its representation, shape (D,).
        distance: Its mean distance to the prototypes.
        weight: 1 if it was accepted and 0 if not, or under ``weight`` that of its loss.
    """

    path: Path
    y: Tensor
    distance: float
    weight: float


class PrototypeDensitySampler(PathSampler):
    """Trains paths the more often the fewer others are like them, measured against a few prototypes.

    Algorithm 2 of Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling::

        warm up with uniform paths
        N uniform paths, represented on a fixed validation batch x_v; K-Means makes c_1, ..., c_K of them
        from then on, for every proposal a ~ uniform:
            d(a) = mean_k d(a, c_k), density alpha(a) = 1 / d(a)
            train a with P(a) = sigmoid((alpha_mid - alpha(a)) / tau)                              (Eq. 10)
            beta_k = d(a, c_k)^2 / sum_j d(a, c_j)^2,  c_k <- c_k + lambda beta_k (y_a - c_k)      (Eq. 8, 9)

    A vector y stands for a path, of length 1 and measured with the weights before the step; d is the cosine
    distance, to which the length of c_k does not matter, while Eq. 9 moves c_k as it is. There is no released
    code, and the paper leaves much open. Decided here:

    - The mean over prototypes divides by K. The printed K - 1 has no term to leave out, and only scales.
    - alpha_mid and the scale of alpha are not given. Both follow the last proposals, trained or not: by
      default their median and robust deviation (interquartile range / 1.349), so that half of all paths are trained,
      on any scale. ``scale="none"`` is the formula as printed.
    - A rejected path is replaced by another one for the same batch (``resample``).
    - Every proposal updates the prototypes. If only trained paths did, prototypes would move to sparse regions.
    - lambda is 0.1, N is 20 K, and x_v has 32 images.

    Under Eq. 8 as printed the farthest prototype moves most, until all of them are the mean of the population:
    watch ``density/prototype_spread``. Densities stay right, because the mean distance to a population is the
    distance to its mean, which ``estimator="mean_vector"`` uses without any prototypes. ``beta="inverse"`` keeps
    them apart; few of them then want ``prototype_weight="mass"``, because the density is in the masses.

    With the median, half of the proposals are accepted (``density/accept_rate``) as long as prototypes and the last
    proposals keep up with the supernet. Where it stays far from that, they lag behind, and what is compared
    are old weights with new ones: raise ``rate``, shorten ``window``, or give ``refresh_every``.

    Args:
        tau: Temperature, positive, in units of the scale. Smaller sharpens.
        mid: alpha_mid: ``median``, ``mean`` or ``midrange`` of the last densities, or a number in (0, 1): their
            quantile.
        scale: ``iqr`` divides by the robust deviation of the last densities, ``none`` does not.
        compare: Compare the ``density`` 1 / d, or the ``distance`` d itself, which has no pole.
        target_accept_rate: The part of all proposals to train, in (0, 1), from which alpha_mid follows at every
            proposal; ``mid`` then stays at its default. (The rate does not follow from tau: with the median it is a
            half for all of them.)
        on_rejection: ``resample``: propose again for the same batch. ``skip``: lose the batch. ``weight``: train
            every proposal, its loss weighted by P over the mean P of the last proposals.
        max_tries: Proposals per batch, of which the last is trained in any case. (``resample`` only.)
        estimator: ``prototypes``, or ``mean_vector``: d(a) = 1 - y_a.mu with the running mean mu of all proposals.
        prototypes: K; fewer, where N paths are not that many different ones.
        prototype_weight: ``equal``: prototypes count alike, as printed. ``mass``: each counts as many paths as were
            nearest to it, d(a) = sum_k m_k (1 - y_a.c_k), which is the mean distance to the population for any K.
        beta: ``printed`` or ``inverse``: see ``lightning_nas.density.prototypes.update``.
        rate: lambda, in (0, 1].
        pool_size: N; None takes 20 K.
        refresh_every: None measures every proposal afresh, a forward pass of x_v each. A number of steps makes proposals
            the cheaper way: drawn from the N paths, which are measured all at once, with new prototypes, as often as
            that. A step then costs N / refresh_every forward passes. Representations of different weights never
            meet, and between two measurements nothing moves.
        window: How many proposals the last ones are.
        warmup_steps: Uniform steps (training batches) first; None takes the larger of 3 epochs and 5 % of the
            run. At initialisation all paths look alike, so at least 1.
        representation: What stands for a path: see ``lightning_nas.density.unit_representations``. Of more than
            4,096 dimensions it is projected to 2,048.
        probe_size: Images of x_v; at least 16, where the supernet has batch-norm.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        warmup: Steps of the warm-up of this run.
        centres: Prototypes c, shape (K, D); empty before they are measured.
        masses: The part of the N paths nearest to each, shape (K,).
        mean: mu, shape (D,).
        recent: Mean distances of the last proposals, at first those of the N paths.
        pool: The paths that are proposed, where they are not measured afresh, and
        pool_representations: what stands for them, shape (N, D).
    """

    options = (
        "tau",
        "mid",
        "scale",
        "compare",
        "target_accept_rate",
        "on_rejection",
        "max_tries",
        "estimator",
        "prototypes",
        "prototype_weight",
        "beta",
        "rate",
        "pool_size",
        "refresh_every",
        "window",
        "warmup_steps",
        "representation",
        "probe_size",
    )
    state = (
        "probe",
        "warmup",
        "measured_step",
        "centres",
        "masses",
        "mean",
        "population",
        "recent",
        "pool",
        "pool_representations",
        "initial_spread",
        "warned",
        "tally",
    )

    def __init__(
        self,
        tau: float = 1.0,
        mid: Mid | float = "median",
        scale: Literal["iqr", "none"] = "iqr",
        compare: Literal["density", "distance"] = "density",
        target_accept_rate: float | None = None,
        on_rejection: Literal["resample", "skip", "weight"] = "resample",
        max_tries: int = 10,
        estimator: Literal["prototypes", "mean_vector"] = "prototypes",
        prototypes: int = 100,
        prototype_weight: Literal["equal", "mass"] = "equal",
        beta: Beta = "printed",
        rate: float = 0.1,
        pool_size: int | None = None,
        refresh_every: int | None = None,
        window: int = 512,
        warmup_steps: int | None = None,
        representation: UnitRepresentation = "functional",
        probe_size: int = 32,
        seed: int | None = None,
    ) -> None:
        self.tau = tau
        self.mid: Mid | float = mid
        self.scale = scale
        self.compare = compare
        self.target_accept_rate = target_accept_rate
        self.on_rejection = on_rejection
        self.max_tries = max_tries
        self.estimator = estimator
        self.prototypes = prototypes
        self.prototype_weight = prototype_weight
        self.beta: Beta = beta
        self.rate = rate
        self.pool_size = 20 * prototypes if pool_size is None else pool_size
        self.refresh_every = refresh_every
        self.window = window
        self.warmup_steps = warmup_steps
        self.representation: UnitRepresentation = representation
        self.probe_size = probe_size
        self._require_valid()
        super().__init__(seed)

    def _require_valid(self) -> None:
        require_acceptance(self.tau, self.mid, self.target_accept_rate)
        if not 0 < self.rate <= 1:
            raise NASError(f"sampler.rate is {self.rate}: valid are numbers in (0, 1]")
        for name, least in (("max_tries", 1), ("prototypes", 1), ("window", 2)):
            if getattr(self, name) < least:
                raise NASError(f"sampler.{name} is {getattr(self, name)}: valid are numbers from {least}")
        if self.pool_size < max(2, self.prototypes):
            raise NASError(
                f"sampler.pool_size is {self.pool_size}, of which K-Means makes {self.prototypes} prototypes: valid are "
                f"numbers from {max(2, self.prototypes)}"
            )
        if self.refresh_every is not None and self.refresh_every < 1:
            raise NASError(
                f"sampler.refresh_every is {self.refresh_every}: valid are numbers of steps from 1"
            )
        require_warmup(self.warmup_steps)

    def begin(self) -> None:
        """Nothing is measured yet."""
        self.probe: tuple[int, ...] = ()
        self.warmup = 0
        self.measured_step = -1
        self.centres = self.masses = self.mean = self.recent = torch.zeros(0, dtype=torch.float64)
        self.population = 0
        self.pool: tuple[Path, ...] = ()
        self.pool_representations = torch.zeros(0, dtype=torch.float64)
        self.initial_spread = 0.0
        self.warned = False
        # Steps, proposals and acceptances since they were logged.
        self.tally = (0, 0, 0)
        self._images: tuple[Tensor, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses, before anything is trained, what could not be done after the warm-up.

        Raises:
            NASError: The space has one path, the data has no validation images to offer or too few of them, or the
                warm-up leaves no step for the method.
        """
        assert isinstance(pl_module, SupernetModule)
        require_several(pl_module.space, "PrototypeDensitySampler")
        self.probe = self.probe or draw_probe(trainer, pl_module, self.probe_size, self.seed)
        self.warmup = self.warmup or warmup_of(trainer, self.warmup_steps)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """Uniform during the warm-up, then the first proposal that is accepted."""
        if step < self.warmup:
            return (module.space.sample(generator(self.seed, Stream.PATH, step)),)
        if self._is_due(step):
            self._measure(trainer, module, step)
        proposals = of_rank_zero(trainer, lambda: self._propose(trainer, module, step))
        if not trainer.is_global_zero:
            for proposal in proposals:
                self._learn(proposal)
        self._report(trainer, proposals)
        trained = proposals[-1]
        if self.on_rejection != "resample":
            module.path_weights = (trained.weight,)
        return (trained.path,)

    # ------------------------------------------------------------------------------ prototypes, measured at once

    def _is_due(self, step: int) -> bool:
        never = self.measured_step < 0
        return never or (self.refresh_every is not None and step - self.measured_step >= self.refresh_every)

    def _measure(self, trainer: Trainer, module: SupernetModule, step: int) -> None:
        """Represents N uniform paths, and makes prototypes of them."""
        rng = generator(self.seed, Stream.KMEANS, step)
        paths = tuple(module.space.sample(rng) for _ in range(self.pool_size))

        def measured() -> tuple[Tensor, Tensor, Tensor]:
            y = self._represent(trainer, module, paths)
            return (y, *cluster(y, self.prototypes, rng))

        y, self.centres, self.masses = of_rank_zero(trainer, measured)
        self.mean, self.population = y.mean(0), len(y)
        self.initial_spread = spread(self.centres)
        self.recent = of_rank_zero(trainer, lambda: self._mean_distances(y[-self.window :]))
        if self.refresh_every is not None:
            self.pool, self.pool_representations = paths, y
        self.measured_step = step

    def _represent(self, trainer: Trainer, module: SupernetModule, paths: tuple[Path, ...]) -> Tensor:
        if self._images is None:
            images, labels = probe_images(trainer, self.probe)
            self._images = images.to(module.device), labels.to(module.device)
        return represent(module.supernet, paths, *self._images, self.representation, self.seed)

    def _mean_distances(self, y: Tensor) -> Tensor:
        """Mean distance of representations (..., D) to the population, as the estimator sees it."""
        if self.estimator == "mean_vector":
            distances = 1 - y @ self.mean
        elif self.prototype_weight == "mass":
            distances = 1 - y @ (self.masses @ self.centres)
        else:
            distances = cosine_distances(y, self.centres).mean(-1)
        return distances.clamp(min=CLOSEST)

    # ----------------------------------------------------------------------------------------- proposals of a step

    def _propose(self, trainer: Trainer, module: SupernetModule, step: int) -> list[Proposal]:
        """The proposals of a step, the trained one last. On rank 0 alone: a threshold must not depend on rounding."""
        rng = generator(self.seed, Stream.PATH, step)
        accept = generator(self.seed, Stream.ACCEPT, step)
        proposals: list[Proposal] = []
        for _ in range(self.max_tries if self.on_rejection == "resample" else 1):
            path, y = self._candidate(trainer, module, rng)
            distance = float(self._mean_distances(y))
            probability, of_recent = self._probabilities(distance)
            accepted = accept.random() < probability
            weight = probability / of_recent.mean() if self.on_rejection == "weight" else float(accepted)
            proposals.append(Proposal(path, y, distance, float(weight)))
            self._learn(proposals[-1])
            if accepted:
                break
        return proposals

    def _candidate(
        self, trainer: Trainer, module: SupernetModule, rng: np.random.Generator
    ) -> tuple[Path, Tensor]:
        """A uniform path and its representation."""
        if self.pool:
            number = int(rng.integers(len(self.pool)))
            return self.pool[number], self.pool_representations[number]
        path = module.space.sample(rng)
        return path, self._represent(trainer, module, (path,))[0]

    def _probabilities(self, distance: float) -> tuple[float, NDArray[np.float64]]:
        """P of a path, and of the last proposals."""
        recent = self._density(self.recent.numpy())
        unit = robust_deviation(recent) if self.scale == "iqr" else 1.0
        if unit < 1e-12:
            return 0.5, np.full(len(recent), 0.5)
        tau = self.tau * unit
        if self.target_accept_rate is None:
            mid = middle(recent, self.mid)
        else:
            mid = threshold_for(recent, self.target_accept_rate, tau)
        return float(acceptance(self._density(distance), mid, tau)), acceptance(recent, mid, tau)

    def _density(self, distance: ArrayLike) -> NDArray[np.float64]:
        """What is compared: larger where the space is denser."""
        d = np.asarray(distance, dtype=np.float64)
        return 1 / d if self.compare == "density" else -d

    def _learn(self, proposal: Proposal) -> None:
        """Every proposal moves the prototypes and the mean, and takes its place among the last.

        Those of a pool taught all they can when it was measured.
        """
        if self.pool:
            return
        _, y, distance, _ = proposal
        self.population += 1
        if self.estimator == "mean_vector":
            self.mean = self.mean + max(1 / self.population, MEAN_RATE) * (y - self.mean)
        else:
            self.centres = update(self.centres, y, self.rate, self.beta)
        latest = torch.tensor([distance], dtype=torch.float64)
        self.recent = torch.cat([self.recent, latest])[-self.window :]

    # ----------------------------------------------------------------------------------------------------- reports

    def _report(self, trainer: Trainer, proposals: list[Proposal]) -> None:
        steps, proposed, accepted = self.tally
        trained = sum(proposal.weight > 0 for proposal in proposals)
        self.tally = (steps + 1, proposed + len(proposals), accepted + trained)
        if not is_logged_step(trainer):
            return
        steps, proposed, accepted = self.tally
        _, probabilities = self._probabilities(proposals[-1].distance)
        metrics = {
            "density/accept_rate": accepted / proposed,
            "density/tries": proposed / steps,
            "density/effective_fraction": float(probabilities.mean() ** 2 / (probabilities**2).mean()),
        }
        if self.estimator == "prototypes":
            metrics["density/prototype_spread"] = self._watched_spread()
        log_metrics(trainer, metrics)
        self.tally = (0, 0, 0)

    def _watched_spread(self) -> float:
        now = spread(self.centres)
        self.warned = self.warned or warn_of_collapse(now, self.initial_spread)
        return now
