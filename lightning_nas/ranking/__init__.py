"""Comparing one-shot scores with ground truth."""

from lightning_nas.ranking.benchmark import TableRow, TabularBenchmark, write_table
from lightning_nas.ranking.bias import DensityBias, density_bias, rank_error
from lightning_nas.ranking.metrics import (
    best_rank,
    kendall_tau,
    pearson,
    precision_at_bottom,
    precision_at_top,
    ranking_metrics,
    spearman,
    top_ground_truth,
    worst_rank,
)

__all__ = [
    "DensityBias",
    "TableRow",
    "TabularBenchmark",
    "best_rank",
    "density_bias",
    "kendall_tau",
    "pearson",
    "precision_at_bottom",
    "precision_at_top",
    "rank_error",
    "ranking_metrics",
    "spearman",
    "top_ground_truth",
    "worst_rank",
    "write_table",
]
