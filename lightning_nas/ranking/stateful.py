"""The criteria as torchmetrics objects, for scores that arrive in batches or on several processes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_nas.ranking import metrics

Criterion = Callable[[Any, Any], float | Mapping[str, float]]


class RankingCriterion(Metric):
    """Collects scores and ground truth, and compares them all at the end.

    Args:
        criterion: A function of scores and ground truth, shape (n,) each, that returns a number or several by
            name, such as those of :mod:`lightning_nas.ranking.metrics`.

    Example:
        >>> tau = KendallTau()
        >>> tau.update(torch.tensor([0.9, 0.8]), torch.tensor([90.0, 91.0]))
        >>> tau.update(torch.tensor([0.7]), torch.tensor([92.0]))
        >>> round(tau.compute().item(), 6)
        -1.0
    """

    full_state_update = False
    scores: list[Tensor]
    truth: list[Tensor]

    def __init__(self, criterion: Criterion) -> None:
        super().__init__()
        self.criterion = criterion
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, truth: Tensor) -> None:
        """Adds paths.

        Args:
            scores: Their one-shot scores, shape (n,).
            truth: Their ground truth, shape (n,).
        """
        self.scores.append(scores.detach().double())
        self.truth.append(truth.detach().double())

    def compute(self) -> Any:
        """The criterion over all paths so far: a float64 tensor, or several by name."""
        result = self.criterion(
            dim_zero_cat(self.scores).cpu().numpy(), dim_zero_cat(self.truth).cpu().numpy()
        )
        if isinstance(result, Mapping):
            return {name: torch.tensor(value, dtype=torch.float64) for name, value in result.items()}
        return torch.tensor(result, dtype=torch.float64)


class KendallTau(RankingCriterion):
    """Kendall's tau-b; with many paths far faster than the Kendall correlation of torchmetrics."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(metrics.kendall_tau)


class RankingMetrics(RankingCriterion):
    """All of :func:`lightning_nas.ranking.metrics.ranking_metrics` by name."""

    def __init__(self) -> None:
        super().__init__(metrics.ranking_metrics)
