"""Callbacks that look at a run: rankings, files, predictions."""

from lightning_nas.callbacks.interruption import Interruption
from lightning_nas.callbacks.metrics_file import MetricsFile
from lightning_nas.callbacks.predictions import PredictionsFile
from lightning_nas.callbacks.ranking import Ranking
from lightning_nas.callbacks.run_checkpoint import RunCheckpoint
from lightning_nas.callbacks.run_directory import RunDirectory

__all__ = ["Interruption", "MetricsFile", "PredictionsFile", "Ranking", "RunCheckpoint", "RunDirectory"]
