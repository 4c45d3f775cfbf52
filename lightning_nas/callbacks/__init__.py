"""Callbacks that look at a run: rankings, files, predictions, variances, times, how evenly paths are trained."""

from lightning_nas.callbacks.data_wait import DataWait
from lightning_nas.callbacks.density_statistics import DensityStatistics
from lightning_nas.callbacks.exact_resume import ExactResume
from lightning_nas.callbacks.forgetting import Forgetting
from lightning_nas.callbacks.gradient_similarity import GradientSimilarity
from lightning_nas.callbacks.gradient_variance import GradientVariance
from lightning_nas.callbacks.inherited_weights import InheritedWeights
from lightning_nas.callbacks.loss_plateau import LossPlateau
from lightning_nas.callbacks.metrics_file import MetricsFile
from lightning_nas.callbacks.predictions import PredictionsFile
from lightning_nas.callbacks.prototypes import PrototypeCallback
from lightning_nas.callbacks.rank_agreement import RankAgreement
from lightning_nas.callbacks.ranking import Ranking
from lightning_nas.callbacks.run_checkpoint import RunCheckpoint
from lightning_nas.callbacks.run_directory import RunDirectory
from lightning_nas.callbacks.sampling_statistics import SamplingStatistics
from lightning_nas.callbacks.trainability import Trainability
from lightning_nas.callbacks.wandb_results import WandbResults
from lightning_nas.callbacks.wandb_run import WandbRun

__all__ = [
    "DataWait",
    "DensityStatistics",
    "ExactResume",
    "Forgetting",
    "GradientSimilarity",
    "GradientVariance",
    "InheritedWeights",
    "LossPlateau",
    "MetricsFile",
    "PredictionsFile",
    "PrototypeCallback",
    "RankAgreement",
    "Ranking",
    "RunCheckpoint",
    "RunDirectory",
    "SamplingStatistics",
    "Trainability",
    "WandbResults",
    "WandbRun",
]
