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
        options: Names of the attributes that must not change when a run is continued.
        seed: The seed in force.
        visits: How often every path was trained, shape (size,); None where the space is too large to count.
    """

    options: tuple[str, ...] = ()

    def __init__(self, seed: int | None = None) -> None:
        self._given_seed = seed
        self.seed = resolve_seed(seed)
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
        """Begins anew: fixes the seed and clears the counts, which a checkpoint may then restore."""
        if stage != "fit":
            return
        if not isinstance(pl_module, SupernetModule):
            raise NASError(f"{type(self).__name__} needs a SupernetModule, not a {type(pl_module).__name__}")
        samplers = [callback for callback in trainer.callbacks if isinstance(callback, PathSampler)]  # type: ignore[attr-defined]
        if len(samplers) > 1:
            names = " and ".join(type(sampler).__name__ for sampler in samplers)
            raise NASError(f"the Trainer has {len(samplers)} samplers ({names}): a step has one")
        self.seed = resolve_seed(self._given_seed)
        size = pl_module.space.size
        self.visits = torch.zeros(size, dtype=torch.int64) if size <= ENUMERABLE else None

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Sets the step's paths.

        Raises:
            NASError: ``choose`` returned a path that is not in the space.
        """
        assert isinstance(pl_module, SupernetModule)
        pl_module.paths = self.choose(trainer, pl_module, trainer.fit_loop.epoch_loop.total_batch_idx)
        for path in pl_module.paths:
            pl_module.space.require(path)
            if self.visits is not None:
                self.visits[pl_module.space.index(path)] += 1

    def state_dict(self) -> dict[str, Any]:
        """Seed, options and counts, in types that load without pickle."""
        options = {name: getattr(self, name) for name in self.options}
        return {"seed": self.seed, "options": options, "visits": self.visits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the counts.

        Raises:
            NASError: The run had another seed or other options.
        """
        before = {"seed_everything": state_dict["seed"]}
        before |= {f"sampler.{name}": value for name, value in state_dict["options"].items()}
        now = {"seed_everything": self.seed} | {
            f"sampler.{name}": getattr(self, name) for name in self.options
        }
        for key, value in before.items():
            if now[key] != value:
                raise NASError(
                    f"the checkpoint was trained with {key} {value}, but now {key} is {now[key]}: give the same "
                    "to continue it"
                )
        self.visits = state_dict["visits"]
