"""What a sampler is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import torch
from lightning import Callback, LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.random import resolve_seed
from lightning_nas.spaces import Path, SearchSpace

T = TypeVar("T")

COUNTS = ("visits", "choice_visits")


class Sampler(Callback):
    """What samplers of paths and of images have in common: a seed, and options, both for a whole run.

    Args:
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        key: Where it stands on the command line.
        options: Names of the attributes that must not change when a run is continued.
        seed: The seed in force.
    """

    key: Literal["sampler", "data_sampler"]
    options: tuple[str, ...] = ()

    def __init__(self, seed: int | None = None) -> None:
        require_valid(self, seed)
        self._given_seed = seed
        self.seed = resolve_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """Key, seed and options."""
        options = {name: getattr(self, name) for name in self.options}
        return {"key": self.key, "seed": self.seed, "options": options}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Looks whose run it was: Lightning hands a state only to the sampler that wrote it.

        Raises:
            NASError: It had another sampler, of paths or of images, or only one of the two runs has one.
        """
        before = {state["key"]: name for name, state in checkpoint["callbacks"].items() if "key" in state}
        # A run is scored with any sampler, and its paths need not come from one.
        if trainer.state.fn != "fit" or "sampler" not in before:
            return
        samplers = [callback for callback in trainer.callbacks if isinstance(callback, Sampler)]  # type: ignore[attr-defined]
        now = {sampler.key: sampler.state_key for sampler in samplers}
        for key in ("sampler", "data_sampler"):
            require_unchanged(key, before.get(key), now.get(key))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compares seed and options.

        Raises:
            NASError: The run had others.
        """
        require_unchanged("seed_everything", state_dict["seed"], self.seed)
        for name, value in state_dict["options"].items():
            require_unchanged(f"{self.key}.{name}", value, getattr(self, name))


class PathSampler(Sampler, ABC):
    """Chooses the paths of every training step.

    The choice is a pure function of the seed, the step and the sampler's state, so that all ranks agree
    without talking and a resumed run continues as if it had not stopped. A method implements ``choose``. What it
    learns in the course of a run it keeps in attributes that ``begin`` creates and ``state`` names.

    Args:
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        state: Names of the attributes that a checkpoint holds: tensors, numbers, texts, and tuples, lists and
            dictionaries of them.
        visits: How often every path was trained, shape (size,); None where the space is too large to count.
        choice_visits: How often every choice was trained, shape (decisions, largest number of choices).
    """

    key = "sampler"
    state: tuple[str, ...] = ()

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.visits: torch.Tensor | None = None
        self.choice_visits = torch.zeros(0, 0, dtype=torch.int64)
        self.begin()

    def begin(self) -> None:
        """Sets the attributes of ``state`` to what they are before the first step.

        Called by the constructor, hence after the options are set, and whenever a run starts anew.
        """

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
        """Begins anew: fixes the seed and clears counts and state, which a checkpoint may then restore."""
        if stage != "fit":
            return
        space = require_supernet(self, pl_module).space
        samplers = [callback for callback in trainer.callbacks if isinstance(callback, PathSampler)]  # type: ignore[attr-defined]
        if len(samplers) > 1:
            names = " and ".join(type(sampler).__name__ for sampler in samplers)
            raise NASError(f"the Trainer has {len(samplers)} samplers ({names}): a step has one")
        self.seed = resolve_seed(self._given_seed)
        self.visits = torch.zeros(space.size, dtype=torch.int64) if space.size <= ENUMERABLE else None
        self.choice_visits = torch.zeros(len(space.num_choices), max(space.num_choices), dtype=torch.int64)
        self.begin()

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
        pl_module.path_weights = ()
        pl_module.paths = self.choose(trainer, pl_module, trainer.fit_loop.epoch_loop.total_batch_idx)
        for path in pl_module.paths:
            pl_module.space.require(path)
        for path in pl_module.trained_paths:
            self._count(pl_module.space, path)

    def _count(self, space: SearchSpace, path: Path) -> None:
        # NumPy reaches single elements in a tenth of the time.
        choices = self.choice_visits.numpy()
        for decision, choice in enumerate(path):
            choices[decision, choice] += 1
        if self.visits is not None:
            self.visits.numpy()[space.index(path)] += 1

    def log_metrics(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Writes metrics to all loggers on the steps that the Trainer logs (``log_every_n_steps``).

        Under ``log`` Lightning puts the module's method into every callback.
        """
        if is_logged_step(trainer):
            log_metrics(trainer, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Key, seed, options, counts and state, in types that load without pickle."""
        return super().state_dict() | {name: getattr(self, name) for name in (*COUNTS, *self.state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues counts and state.

        Raises:
            NASError: The run had another seed or other options.
        """
        super().load_state_dict(state_dict)
        for name in (*COUNTS, *self.state):
            setattr(self, name, state_dict[name])


def require_valid(sampler: Sampler, seed: int | None) -> None:
    """Refuses what the command line does not take either, because the type hints do not.

    Args:
        sampler: With its ``options`` set.
        seed: That it was given.

    Raises:
        NASError: The seed is negative, or an option is none of the texts in its type hint.
    """
    if seed is not None and seed < 0:
        raise NASError(f"{sampler.key}.seed is {seed}: valid are numbers from 0")
    hints = get_type_hints(type(sampler).__init__)
    for name in sampler.options:
        valid, value = hints.get(name), getattr(sampler, name)
        if get_origin(valid) is Literal and value not in get_args(valid):
            raise NASError(f"{sampler.key}.{name} is {value!r}: valid are {', '.join(get_args(valid))}")


def require_paths(paths: int) -> None:
    """Refuses steps without a path.

    Raises:
        NASError: ``paths`` is less than 1.
    """
    if paths < 1:
        raise NASError(f"sampler.paths is {paths}: a step trains at least one path")


def require_unchanged(key: str, before: Any, now: Any) -> None:
    """Refuses to continue a run with something else.

    Args:
        key: Where it stands on the command line.
        before: What the checkpoint was trained with.
        now: What is in force.

    Raises:
        NASError: They differ.
    """
    if before != now:
        raise NASError(
            f"the checkpoint was trained with {key} {before}, but now {key} is {now}: give the same to continue it"
        )


def of_rank_zero(trainer: Trainer, compute: Callable[[], T]) -> T:
    """What rank 0 computes, on all ranks: another one's rounding would choose other paths."""
    value = compute() if trainer.is_global_zero else None
    return cast(T, trainer.strategy.broadcast(value))
