"""Comparing one-shot scores with ground truth."""

from lightning_nas.ranking.benchmark import TableRow, TabularBenchmark, write_table
from lightning_nas.ranking.bias import DensityBias, density_bias, rank_error
from lightning_nas.ranking.chunks import chunk_sample, released_sample
from lightning_nas.ranking.complexity import (
    ComplexityGroup,
    complexity_bias,
    complexity_bias_by_group,
    complexity_groups,
    convergence_correlation,
    rank_difference,
)
from lightning_nas.ranking.isomorphism import ClassSpread, class_spread, post_deisomorphism
from lightning_nas.ranking.levels import kendall_tau_within_levels, sparse_kendall_tau
from lightning_nas.ranking.metrics import (
    best_ground_truth,
    best_rank,
    kendall_tau,
    kendall_tau_a,
    kendall_tau_of_bottom,
    kendall_tau_of_top,
    mean_scores,
    pearson,
    precision_at_bottom,
    precision_at_top,
    ranking_metrics,
    spearman,
    top_ground_truth,
    worst_ground_truth,
    worst_rank,
)
from lightning_nas.ranking.mutation import MutationBias, Mutations, mutation_bias, mutations
from lightning_nas.ranking.pareto import pareto_front, pareto_fronts, pareto_gap
from lightning_nas.ranking.report import complexity_report, isomorphism_report, ranking_report
from lightning_nas.ranking.stateful import KendallTau, RankingCriterion, RankingMetrics
from lightning_nas.ranking.table import ScoreTable, average

__all__ = [
    "ClassSpread",
    "ComplexityGroup",
    "DensityBias",
    "KendallTau",
    "MutationBias",
    "Mutations",
    "RankingCriterion",
    "RankingMetrics",
    "ScoreTable",
    "TableRow",
    "TabularBenchmark",
    "average",
    "best_ground_truth",
    "best_rank",
    "chunk_sample",
    "class_spread",
    "complexity_bias",
    "complexity_bias_by_group",
    "complexity_groups",
    "complexity_report",
    "convergence_correlation",
    "density_bias",
    "isomorphism_report",
    "kendall_tau",
    "kendall_tau_a",
    "kendall_tau_of_bottom",
    "kendall_tau_of_top",
    "kendall_tau_within_levels",
    "mean_scores",
    "mutation_bias",
    "mutations",
    "pareto_front",
    "pareto_fronts",
    "pareto_gap",
    "pearson",
    "post_deisomorphism",
    "precision_at_bottom",
    "precision_at_top",
    "rank_difference",
    "rank_error",
    "ranking_metrics",
    "ranking_report",
    "released_sample",
    "sparse_kendall_tau",
    "spearman",
    "top_ground_truth",
    "worst_ground_truth",
    "worst_rank",
    "write_table",
]
