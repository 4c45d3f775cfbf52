"""Scoring many paths of a supernet."""

from lightning_nas.evaluation.evaluator import PathEvaluator
from lightning_nas.evaluation.partial import PartialScores
from lightning_nas.evaluation.progress import track
from lightning_nas.evaluation.recalibration import Calibration, measure
from lightning_nas.evaluation.scores import PathScores, Scores
from lightning_nas.evaluation.selection import select_paths

__all__ = [
    "Calibration",
    "PartialScores",
    "PathEvaluator",
    "PathScores",
    "Scores",
    "measure",
    "select_paths",
    "track",
]
