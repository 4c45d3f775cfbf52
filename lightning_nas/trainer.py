"""The Trainer of this framework: Lightning's, with the rules of a run directory, and verbs of its own."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import Logger

from lightning_nas import groundtruth
from lightning_nas.callbacks import (
    DataWait,
    ExactResume,
    MetricsFile,
    PredictionsFile,
    RunCheckpoint,
    RunDirectory,
    WandbResults,
    WandbRun,
)
from lightning_nas.data import ImageDataModule
from lightning_nas.module import SupernetModule
from lightning_nas.ranking.reliability import reliability


class NASTrainer(Trainer):
    """Keeps everything of a run in ``default_root_dir`` itself.

    Unless told otherwise it logs to ``metrics.csv`` and keeps ``last.ckpt``, written at the end of every
    epoch.

    Args:
        default_root_dir: The run directory.
        logger: More loggers beside ``metrics.csv``, such as ``WandbRun``; False is none at all.
        callbacks: More callbacks. A RunCheckpoint among them takes the place of the usual one.
        kwargs: Everything else that Lightning's Trainer takes.
    """

    def __init__(
        self,
        *,
        default_root_dir: str = "runs/default",
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        **kwargs: Any,
    ) -> None:
        self._flags = kwargs
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        # Lightning drops None nowhere and then fails on it; a sampler that is not given arrives as None.
        given = [callback for callback in given if callback is not None]
        bare = bool(kwargs.get("barebones"))
        checkpoints = not bare and kwargs.get("enable_checkpointing") is not False
        if checkpoints and not any(isinstance(callback, RunCheckpoint) for callback in given):
            given.append(RunCheckpoint())
        measured = [] if bare else [DataWait()]
        super().__init__(
            default_root_dir=default_root_dir,
            logger=logger if bare else _with_metrics_file(logger, default_root_dir),
            callbacks=[RunDirectory(), WandbResults(), PredictionsFile(), *given, *measured, ExactResume()],
            **kwargs,
        )
        # It would save within the signal's handler, in the middle of a step. RunCheckpoint saves after the step.
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    def groundtruth(
        self, model: SupernetModule, datamodule: ImageDataModule, seeds: int = 5, workers: int = 1
    ) -> None:
        """Train every path of a small space alone and write a table of ground truth.

        Writes ``groundtruth_runs.csv``, a line per network, and ``groundtruth.csv``, the table. Interrupted, it
        continues where it stopped when called again.

        Args:
            model: Names the space, the optimizer and the schedule.
            datamodule: The data; the test split is scored.
            seeds: Networks per path.
            workers: Processes, each on one core.
        """
        root = Path(self.default_root_dir)
        try:
            accuracies = groundtruth.measure(model, datamodule, self._flags, seeds, workers, root)
        except KeyboardInterrupt:
            sys.exit(
                f"Interrupted: what is finished stands in {root / groundtruth.RUNS}; the same command continues"
            )
        print(f"{root / groundtruth.TABLE}: {len(accuracies)} paths, {seeds} seeds")
        if seeds > 1:
            found = reliability(accuracies)
            print(
                f"spread between paths {found.between_paths:.2f}, between seeds {found.between_seeds:.2f} points; "
                f"tau between single seeds {found.tau_of_single_seeds:.2f}, ceiling of any tau {found.tau_ceiling:.2f}"
            )


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
