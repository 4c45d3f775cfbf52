"""What a sampler is."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.module import SupernetModule
from lightning_nas.random import resolve_seed
from lightning_nas.spaces import Path


class PathSampler(Callback, ABC):
    """Chooses the paths of every training step.

    The choice is a pure function of the seed, the step and the sampler's state, so that all ranks agree
    without talking and a resumed run continues as if it had not stopped. A method implements ``choose``, and
    adds what it learns to ``state_dict`` and ``load_state_dict``.

    Args:
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        visits: How often every path was trained, shape (size,); None where the space is too large to count.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self.visits: torch.Tensor | None = None

    @abstractmethod
    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """The paths of a step.

        Args:
            trainer: The running trainer.
            module: The module whose ``space`` the paths come from.
            step: Training batches since the start of the run. (Not ``global_step``, which stands still while
                gradients accumulate.)
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fixes the seed and prepares the counts."""
        if stage != "fit":
            return
        if not isinstance(pl_module, SupernetModule):
            raise NASError(f"{type(self).__name__} needs a SupernetModule, not a {type(pl_module).__name__}")
        samplers = [callback for callback in trainer.callbacks if isinstance(callback, PathSampler)]  # type: ignore[attr-defined]
        if len(samplers) > 1:
            names = " and ".join(type(sampler).__name__ for sampler in samplers)
            raise NASError(f"the Trainer has {len(samplers)} samplers ({names}): a step has one")
        self.seed = resolve_seed(self.seed)
        if self.visits is None and pl_module.space.size <= ENUMERABLE:
            self.visits = torch.zeros(pl_module.space.size, dtype=torch.int64)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Sets the step's paths."""
        assert isinstance(pl_module, SupernetModule)
        pl_module.paths = self.choose(trainer, pl_module, trainer.fit_loop.epoch_loop.total_batch_idx)
        if self.visits is not None:
            for path in pl_module.paths:
                self.visits[pl_module.space.index(path)] += 1

    def state_dict(self) -> dict[str, Any]:
        """Seed and counts, in types that load without pickle."""
        return {"seed": self.seed, "visits": self.visits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the counts.

        Raises:
            NASError: The run had another seed.
        """
        if resolve_seed(self.seed) != state_dict["seed"]:
            raise NASError(
                f"the checkpoint was trained with seed {state_dict['seed']}, but this run has seed "
                f"{resolve_seed(self.seed)}: give the same seed_everything to continue it"
            )
        self.seed = state_dict["seed"]
        self.visits = state_dict["visits"]
