"""What is handed to the loggers of a run, all of them and at once.

Lightning writes what ``self.log`` collects only after the callbacks that save checkpoints have run: a run that is killed
in between would lose the row for good.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning import Trainer
from matplotlib.figure import Figure

UNHEARD: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
"""Flags of a Trainer within another, whose metrics and checkpoints are nobody's but those of the work it does."""


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning says nothing but warnings: a Trainer within another need not say again that there is no GPU."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_logged_step(trainer: Trainer) -> bool:
    """Whether the Trainer logs this step (``log_every_n_steps``)."""
    return trainer._logger_connector.should_update_logs


def log_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Writes metrics under the number of the optimizer step."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)


def log_figure(trainer: Trainer, name: str, figure: Figure) -> None:
    """Hands a figure to all loggers that take images, such as WandbRun.

    Its name is that of no metric: a logger would draw one over the other.
    """
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(name, [figure], step=trainer.global_step)
