"""Lightning's Trainer with the rules of a run directory."""

import copy
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from lightning.pytorch.strategies import StrategyRegistry

from lightning_nas import checkpoint
from lightning_nas.callbacks import (
    DataWait,
    ExactResume,
    MetricsFile,
    PredictionsFile,
    RankAgreement,
    Ranking,
    RunCheckpoint,
    RunDirectory,
    WandbResults,
    WandbRun,
)
from lightning_nas.launch import PathDDPStrategy
from lightning_nas.module import SupernetModule
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.spaces import Path as Architecture

StrategyRegistry.register(
    "path_ddp", PathDDPStrategy, "Exchanges the gradients of the paths that a step trained."
)


class Unprofiled(PassThroughProfiler):
    """Times nothing, as quickly as can be: Lightning enters its profiler more than a hundred times in every step."""

    def profile(self, action_name: str) -> AbstractContextManager[str]:  # type: ignore[override]
        """Of no action."""
        return nullcontext(action_name)


class RunTrainer(Trainer):
    """Keeps everything of a run in ``default_root_dir`` itself.

    Unless told otherwise it logs to ``metrics.csv`` and keeps ``last.ckpt``, written at the end of every
    epoch.

    Args:
        default_root_dir: The run directory.
        logger: More loggers beside ``metrics.csv``, such as ``WandbRun``; False is none at all.
        callbacks: More callbacks. A RunCheckpoint among them takes the place of the usual one.
        profiler: What times the parts of a step, such as ``simple``; None is nothing.
        kwargs: Everything else that Lightning's Trainer takes.
    """

    def __init__(
        self,
        *,
        default_root_dir: str = "runs/default",
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        profiler: Profiler | str | None = None,
        **kwargs: Any,
    ) -> None:
        self._flags = kwargs if profiler is None else kwargs | {"profiler": profiler}
        self._logger = logger
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        # Lightning drops None nowhere and then fails on it; a sampler that is not given arrives as None.
        given = [callback for callback in given if callback is not None]
        self._given = tuple(given)
        bare = bool(kwargs.get("barebones"))
        checkpoints = not bare and kwargs.get("enable_checkpointing") is not False
        if checkpoints and not any(isinstance(callback, RunCheckpoint) for callback in given):
            given.append(RunCheckpoint())
        measured = [] if bare else [DataWait()]
        super().__init__(
            default_root_dir=default_root_dir,
            logger=logger if bare else _with_metrics_file(logger, default_root_dir),
            callbacks=[
                *(RunDirectory(), WandbResults(), PredictionsFile()),
                *given,
                *(RankAgreement(), *measured, ExactResume()),
            ],
            profiler=profiler if bare or profiler is not None else Unprofiled(),
            **kwargs,
        )
        # It would save within the signal's handler, in the middle of a step. RunCheckpoint saves after the step.
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    def _run(
        self, model: LightningModule, ckpt_path: str | Path | None = None, weights_only: bool | None = None
    ) -> Any:
        # Lightning would fail on a damaged file in the words of zip and pickle, or load it.
        if ckpt_path is not None:
            checkpoint.read(Path(ckpt_path))
        return super()._run(model, ckpt_path, weights_only)

    @property
    def _ranking(self) -> Ranking:
        return next((callback for callback in self._given if isinstance(callback, Ranking)), Ranking())

    def _ground_truth(self, model: SupernetModule) -> dict[Architecture, float]:
        ranking = self._ranking
        if ranking.benchmark is None:
            return {}
        return TabularBenchmark.read(ranking.benchmark).truth(model.space, ranking.dataset)

    def _for_one_network(
        self, root: Path, callbacks: Sequence[Callback], flags: dict[str, Any]
    ) -> "RunTrainer":
        """A trainer like this one, with these flags and without what is for sampled paths."""
        # Copies, because what is trained before has left its marks.
        kept = [copy.deepcopy(callback) for callback in self._given if suits_one_network(callback)]
        saving = [callback for callback in self._given if isinstance(callback, SaveConfigCallback)]
        return trainer_of(root, copy.deepcopy(self._logger), [*saving, *kept, *callbacks], flags)


# No method: where one hands the arguments of its own constructor on, the parser of the command line looks for them in a circle.
def trainer_of(root: Path, logger: Any, callbacks: list[Callback], flags: dict[str, Any]) -> RunTrainer:
    """A trainer of its own for something that a verb trains.

    Args:
        root: Its run directory.
        logger: Its loggers.
        callbacks: Its callbacks.
        flags: All other arguments.
    """
    return RunTrainer(default_root_dir=str(root), logger=logger, callbacks=callbacks, **flags)


def suits_one_network(callback: Callback) -> bool:
    """Whether a callback is for any network, and not for sampled paths."""
    return isinstance(callback, RunCheckpoint) or not type(callback).__module__.startswith("lightning_nas.")


def _with_metrics_file(logger: Logger | Iterable[Logger] | bool | None, root: str) -> list[Logger] | bool:
    """The loggers given, which learn of the run directory, and ``metrics.csv`` where none but False was asked for."""
    if logger is False:
        return False
    given = (
        [] if logger is None or logger is True else [logger] if isinstance(logger, Logger) else list(logger)
    )
    for one in given:
        if isinstance(one, WandbRun):
            one.enter(root)
    if any(isinstance(one, MetricsFile) for one in given):
        return given
    return [*given, MetricsFile(root)]
