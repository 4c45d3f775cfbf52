"""Watches density prototypes beside any sampler."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_nas import plots
from lightning_nas.density import UnitRepresentation
from lightning_nas.density.prototypes import (
    Beta,
    cluster,
    represent,
    spread,
    update,
    warn_of_collapse,
)
from lightning_nas.errors import NASError
from lightning_nas.loggers import is_logged_step, log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.random import Stream, generator, resolve_seed
from lightning_nas.samplers.base import of_rank_zero
from lightning_nas.samplers.probe import draw_probe, probe_images
from lightning_nas.samplers.warmup import require_warmup, warmup_of

STATE = ("seed", "probe", "warmup", "centres", "masses", "initial_spread", "warned", "history")


class PrototypeCallback(Callback):
    """Keeps prototypes of the space as Algorithm 2 of density-aware sampling does, and says how far apart they are.

    Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.5. It only looks: the
    sampler of the run decides what is trained, and the paths that it trained move the prototypes, represented
    by the weights after the step. ``density/prototype_spread`` is logged on the steps that the Trainer logs. At the end
    of the run ``prototype_spread.png`` shows it, and ``prototype_map.png`` where prototypes lie among the paths.

    Args:
        prototypes: K; fewer, where the population has fewer different paths.
        pool_size: N, the uniform paths of which K-Means makes prototypes; None takes 20 K.
        every: Steps between updates.
        beta: ``printed`` or ``inverse``: see ``lightning_nas.density.prototypes.update``.
        rate: lambda, in (0, 1].
        warmup_steps: Steps (training batches) before they are made, at least 1; None takes the larger of 3 epochs and
            5 % of the run.
        representation: What stands for a path: see ``lightning_nas.density.unit_representations``.
        probe_size: Validation images on which it is measured; at least 16, where the supernet has batch-norm.
        seed: Seed of the draws; None takes the one of ``seed_everything``.

    Attributes:
        centres: The prototypes, shape (K, D); empty during the warm-up.
        masses: The part of the population that was nearest to each, shape (K,).
        history: Steps and the spread after them, whenever prototypes were made or moved.
    """

    def __init__(
        self,
        prototypes: int = 100,
        pool_size: int | None = None,
        every: int = 10,
        beta: Beta = "printed",
        rate: float = 0.1,
        warmup_steps: int | None = None,
        representation: UnitRepresentation = "functional",
        probe_size: int = 32,
        seed: int | None = None,
    ) -> None:
        self.prototypes = prototypes
        self.pool_size = 20 * prototypes if pool_size is None else pool_size
        self.every = every
        self.beta: Beta = beta
        self.rate = rate
        self.warmup_steps = warmup_steps
        self.representation: UnitRepresentation = representation
        self.probe_size = probe_size
        self._given_seed = seed
        if not 0 < rate <= 1:
            raise NASError(f"PrototypeCallback.rate is {rate}: valid are numbers in (0, 1]")
        if prototypes < 1 or every < 1:
            raise NASError(
                f"PrototypeCallback.prototypes is {prototypes} and every is {every}: valid are numbers from 1"
            )
        if self.pool_size < max(2, prototypes):
            raise NASError(
                f"PrototypeCallback.pool_size is {self.pool_size}: valid are numbers from {max(2, prototypes)}"
            )
        require_warmup(warmup_steps, "PrototypeCallback.warmup_steps")
        self._begin()

    def _begin(self) -> None:
        self.seed = resolve_seed(self._given_seed)
        self.probe: tuple[int, ...] = ()
        self.warmup = 0
        self.centres = self.masses = torch.zeros(0, dtype=torch.float64)
        self.initial_spread = 0.0
        self.warned = False
        self.history: list[tuple[int, float]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew."""
        require_supernet(self, pl_module)
        if stage == "fit":
            self._begin()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what could not be done after the warm-up."""
        assert isinstance(pl_module, SupernetModule)
        self.probe = self.probe or draw_probe(
            trainer, pl_module, self.probe_size, self.seed, "PrototypeCallback.probe_size"
        )
        self.warmup = self.warmup or warmup_of(trainer, self.warmup_steps, "PrototypeCallback.warmup_steps")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Makes the prototypes once, moves them towards the trained paths, and logs their spread."""
        assert isinstance(pl_module, SupernetModule)
        steps = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if steps < self.warmup:
            return
        if not len(self.centres):
            self.centres, self.masses = of_rank_zero(trainer, lambda: self._cluster(trainer, pl_module))
            self.initial_spread = spread(self.centres)
            self.history.append((steps, self.initial_spread))
        elif steps % self.every == 0:
            self.centres = of_rank_zero(trainer, lambda: self._moved(trainer, pl_module))
            self.history.append((steps, spread(self.centres)))
        if is_logged_step(trainer):
            log_metrics(trainer, {"density/prototype_spread": self._watched_spread()})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the figures."""
        assert isinstance(pl_module, SupernetModule)
        if not trainer.is_global_zero or not self.history:
            return
        root = Path(trainer.default_root_dir)
        steps, spreads = zip(*self.history, strict=True)
        figure = plots.prototype_spread(steps, {f"beta {self.beta}": spreads})
        plots.save(figure, root / "prototype_spread.png", {"step": steps, "spread": spreads})
        log_figure(trainer, "density/prototype_spread_over_steps", figure)
        figure = plots.prototype_map(*(points.numpy() for points in self.points(trainer, pl_module)))
        plots.save(figure, root / "prototype_map.png")
        log_figure(trainer, "density/prototype_map", figure)

    def points(self, trainer: Trainer, module: SupernetModule) -> tuple[Tensor, Tensor]:
        """What a picture in two dimensions is a projection of.

        Returns:
            The representations of ``pool_size`` uniform paths, always the same ones, shape (N, D), and the prototypes,
            shape (K, D).
        """
        rng = generator(self.seed, Stream.KMEANS)
        paths = tuple(module.space.sample(rng) for _ in range(self.pool_size))
        return self._represent(trainer, module, paths), self.centres

    def _cluster(self, trainer: Trainer, module: SupernetModule) -> tuple[Tensor, Tensor]:
        y, _ = self.points(trainer, module)
        return cluster(y, self.prototypes, generator(self.seed, Stream.KMEANS, 0))

    def _moved(self, trainer: Trainer, module: SupernetModule) -> Tensor:
        centres = self.centres
        for y in self._represent(trainer, module, module.paths):
            centres = update(centres, y, self.rate, self.beta)
        return centres

    def _represent(
        self, trainer: Trainer, module: SupernetModule, paths: tuple[tuple[int, ...], ...]
    ) -> Tensor:
        images, labels = probe_images(trainer, self.probe)
        return represent(module.supernet, paths, images, labels, self.representation, self.seed)

    def _watched_spread(self) -> float:
        now = spread(self.centres)
        self.warned = self.warned or warn_of_collapse(now, self.initial_spread)
        return now

    def state_dict(self) -> dict[str, Any]:
        """Prototypes and what they were measured on."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues with these prototypes."""
        for name in STATE:
            setattr(self, name, state_dict[name])
