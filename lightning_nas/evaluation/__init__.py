"""Scoring many paths of a supernet."""

from lightning_nas.evaluation.scores import PathScores, Scores
from lightning_nas.evaluation.selection import select_paths

__all__ = ["PathScores", "Scores", "select_paths"]
