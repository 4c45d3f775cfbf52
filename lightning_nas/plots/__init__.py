"""Every figure, one function each, from plain arrays to a matplotlib Figure."""

from lightning_nas.plots.architecture import Sketch, cells, chain, drawn
from lightning_nas.plots.bias import operation_bias, rank_difference, rank_difference_table
from lightning_nas.plots.density import (
    density_over_epochs,
    density_vs_accuracy,
    gradient_vs_functional_density,
    probe_fidelity,
)
from lightning_nas.plots.epochs import (
    accuracy_over_epochs,
    stability_over_epochs,
    tau_over_batches,
    tau_over_epochs,
)
from lightning_nas.plots.estimators import best_architectures, score_by_choice, score_histograms, tau_matrix
from lightning_nas.plots.fewshot import (
    Branch,
    found_by_split,
    leaves_over_epochs,
    split_tree,
    truth_of_leaves,
)
from lightning_nas.plots.latency import predicted_vs_measured
from lightning_nas.plots.learning import probabilities_over_epochs
from lightning_nas.plots.methods import tau_of_methods
from lightning_nas.plots.metrics import metric_over_steps
from lightning_nas.plots.projection import gradient_map, prototype_map, prototype_spread
from lightning_nas.plots.ranking import score_vs_ground_truth, sorted_by_density, summary
from lightning_nas.plots.sampling import sampling_frequency
from lightning_nas.plots.search import best_so_far, pareto, pareto_against_truth, regret_over_evaluations
from lightning_nas.plots.style import save, save_table
from lightning_nas.plots.training import (
    forgetting_over_epochs,
    learning_rate_by_complexity,
    similarity_by_distance,
    trainability_over_epochs,
    variance_and_tau,
    variance_over_epochs,
)
from lightning_nas.plots.visits import choice_visits, operations_over_epochs

__all__ = [
    "Branch",
    "Sketch",
    "accuracy_over_epochs",
    "best_architectures",
    "best_so_far",
    "cells",
    "chain",
    "choice_visits",
    "density_over_epochs",
    "density_vs_accuracy",
    "drawn",
    "forgetting_over_epochs",
    "found_by_split",
    "gradient_map",
    "gradient_vs_functional_density",
    "learning_rate_by_complexity",
    "leaves_over_epochs",
    "metric_over_steps",
    "operation_bias",
    "operations_over_epochs",
    "pareto",
    "pareto_against_truth",
    "predicted_vs_measured",
    "probabilities_over_epochs",
    "probe_fidelity",
    "prototype_map",
    "prototype_spread",
    "rank_difference",
    "rank_difference_table",
    "regret_over_evaluations",
    "sampling_frequency",
    "save",
    "save_table",
    "score_by_choice",
    "score_histograms",
    "score_vs_ground_truth",
    "similarity_by_distance",
    "sorted_by_density",
    "split_tree",
    "stability_over_epochs",
    "summary",
    "tau_matrix",
    "tau_of_methods",
    "tau_over_batches",
    "tau_over_epochs",
    "trainability_over_epochs",
    "truth_of_leaves",
    "variance_and_tau",
    "variance_over_epochs",
]
