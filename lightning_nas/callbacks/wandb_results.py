"""What a run writes into its directory, for Weights & Biases too."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, LightningModule, Trainer

from lightning_nas.callbacks.wandb_run import Position, WandbRun
from lightning_nas.samplers import PathSampler

MOST_ROWS = 1000
"""Paths in a table of W&B, those ranked best; files and artifacts have all."""


class WandbResults(Callback):
    """Opens the run in W&B where there is a ``WandbRun``, and hands over what stands in the run directory.

    - the configuration (``config.yaml``), as such and as an artifact ``config-<id>``;
    - after every validation the table ``ranking/scores`` (best first) and the histogram ``ranking/accuracies``, from
      ``scores/epoch_*.csv`` or ``ranking.csv``; after a ``validate`` also ``density/mean_distances``, from ``density.csv``;
    - after every epoch the histogram ``sampler/path_visits``, where the sampler counts paths;
    - artifacts: the last scores of a training as ``scores-<id>``, and what ``validate`` and ``test`` write as ``ranking-<id>``
      and ``test_ranking-<id>``.

    ``validate`` and ``test`` log where the training of their weights ended, and not at step 0.
    """

    def __init__(self) -> None:
        self._position = Position(0, 0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the run, now that nothing refuses it."""
        for run in _runs(trainer):
            run.measured_at = None
            run.open()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands over the configuration, which is written by now."""
        self._log_config(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs how often paths were trained."""
        self._position = Position(trainer.global_step, trainer.current_epoch)
        visits = next((c.visits for c in trainer.callbacks if isinstance(c, PathSampler)), None)  # type: ignore[attr-defined]
        if visits is not None:
            self._log_histogram(trainer, "sampler/path_visits", visits.tolist())

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers where its training ended."""
        self._position = Position(checkpoint["global_step"], checkpoint["epoch"])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the run for ``validate``."""
        if trainer.state.fn != "fit":
            self._open_to_evaluate(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the run for ``test``."""
        self._open_to_evaluate(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands over the scores of the paths."""
        root = Path(trainer.default_root_dir)
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            self._log_scores(trainer, _scores_of_epoch(trainer), "ranking")
            return
        self._log_scores(trainer, root / "ranking.csv", "ranking")
        density = root / "density.csv"
        if density.is_file():
            distances = [float(row["mean_distance"]) for row in _rows(density)]
            self._log_histogram(trainer, "density/mean_distances", distances)
        self._log_artifact(
            trainer, "ranking", "ranking", [root / "ranking.csv", root / "ranking.json", density]
        )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands over the scores on the test split."""
        root = Path(trainer.default_root_dir)
        self._log_scores(trainer, root / "test_ranking.csv", "test")
        files = [root / "test_ranking.csv", root / "test_ranking.json"]
        self._log_artifact(trainer, "test_ranking", "ranking", files)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hands over the scores of the last validation."""
        scores = sorted((Path(trainer.default_root_dir) / "scores").glob("epoch_*.csv"))
        self._log_artifact(trainer, "scores", "ranking", scores[-1:])

    def _open_to_evaluate(self, trainer: Trainer) -> None:
        for run in _runs(trainer):
            run.measured_at = self._position
            run.open()
        self._log_config(trainer)

    def _log_config(self, trainer: Trainer) -> None:
        path = Path(trainer.default_root_dir) / "config.yaml"
        if path.is_file():
            for run in _runs(trainer):
                run.experiment.config.update(yaml.safe_load(path.read_text()), allow_val_change=True)
        self._log_artifact(trainer, "config", "config", [path])

    def _log_scores(self, trainer: Trainer, path: Path, group: str) -> None:
        """A table and a histogram of what stands in a file of scores."""
        if not _runs(trainer) or not path.is_file():
            return
        import wandb

        rows = sorted(_rows(path), key=lambda row: -float(row["accuracy"]))
        columns = list(rows[0])
        data = [
            [rank, *(_cell(name, row[name]) for name in columns)]
            for rank, row in enumerate(rows[:MOST_ROWS], start=1)
        ]
        self._log(trainer, f"{group}/scores", wandb.Table(["rank", *columns], data))
        self._log_histogram(trainer, f"{group}/accuracies", [float(row["accuracy"]) for row in rows])

    def _log_histogram(self, trainer: Trainer, name: str, values: Sequence[float]) -> None:
        if _runs(trainer):
            import wandb

            self._log(trainer, name, wandb.Histogram(values))

    def _log(self, trainer: Trainer, name: str, value: object) -> None:
        for run in _runs(trainer):
            run.log_metrics({name: value, "epoch": trainer.current_epoch}, step=trainer.global_step)

    def _log_artifact(self, trainer: Trainer, name: str, kind: str, files: Sequence[Path]) -> None:
        there = [file for file in files if file.is_file()]
        for run in _runs(trainer) if there else []:
            import wandb

            artifact = wandb.Artifact(f"{name}-{run.experiment.id}", type=kind)
            for file in there:
                artifact.add_file(str(file))
            run.experiment.log_artifact(artifact)


def _runs(trainer: Trainer) -> list[WandbRun]:
    """Where to log to, on the first rank."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, WandbRun)]


def _scores_of_epoch(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "scores" / f"epoch_{trainer.current_epoch + 1:04d}.csv"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _cell(column: str, text: str) -> str | float | None:
    """A number, but for the name of an architecture, which may look like one; None where it is empty."""
    return text if column == "arch" else float(text) if text else None
