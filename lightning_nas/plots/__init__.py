"""Every figure, one function each, from plain arrays to a matplotlib Figure."""

from lightning_nas.plots.architecture import cells, chain
from lightning_nas.plots.bias import operation_bias, rank_difference
from lightning_nas.plots.epochs import accuracy_over_epochs, tau_over_epochs
from lightning_nas.plots.ranking import score_vs_ground_truth, sorted_by_density, summary
from lightning_nas.plots.sampling import sampling_frequency
from lightning_nas.plots.style import save

__all__ = [
    "accuracy_over_epochs",
    "cells",
    "chain",
    "operation_bias",
    "rank_difference",
    "sampling_frequency",
    "save",
    "score_vs_ground_truth",
    "sorted_by_density",
    "summary",
    "tau_over_epochs",
]
