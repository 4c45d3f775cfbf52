"""Figures are tested with ``SamplingStatistics``, which draws some."""

from pathlib import Path
from typing import Any

import pytest
import short_runs
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger

from lightning_nas.callbacks import MetricsFile
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.samplers import UniformSampler


class Rows(Logger):
    """Keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    name = version = "rows"

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics))


class Squares(Callback):
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if is_logged_step(trainer):
            log_metrics(trainer, {"square": trainer.global_step**2})


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_all_loggers_get_the_metrics_of_the_steps_that_are_logged(
    tmp_path: Path, every: int, steps: list[int]
) -> None:
    loggers = [Rows(), Rows()]
    flags: dict[str, Any] = {"logger": [*loggers, MetricsFile(tmp_path)], "log_every_n_steps": every}
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Squares(), max_epochs=1, **flags)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    for logger in loggers:
        assert [row for row in logger.rows if "square" in row[1]] == [(s, {"square": s**2}) for s in steps]
    assert short_runs.logged(tmp_path, "square") == [s**2 for s in steps]
