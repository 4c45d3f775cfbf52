import math

import pytest
import torch
from ranking_examples import SCORES, TRUTH

from lightning_nas.ranking import metrics
from lightning_nas.ranking.stateful import KendallTau, RankingCriterion, RankingMetrics


def update_twice(metric: RankingCriterion) -> None:
    scores, truth = torch.tensor(SCORES, dtype=torch.float64), torch.tensor(TRUTH, dtype=torch.float64)
    metric.update(scores[:3], truth[:3])
    metric.update(scores[3:], truth[3:])


def test_updates_add_up() -> None:
    metric = KendallTau()
    update_twice(metric)
    assert metric.compute().item() == metrics.kendall_tau(SCORES, TRUTH)
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]))
    assert metric.compute().item() == pytest.approx(-1)


def test_all_criteria_by_name() -> None:
    metric = RankingMetrics()
    update_twice(metric)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == metrics.ranking_metrics(SCORES, TRUTH)


def test_any_criterion_and_nan() -> None:
    metric = RankingCriterion(metrics.kendall_tau_a)
    metric.update(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0]))
    metric.update(torch.tensor([2.0]), torch.tensor([2.0]))
    assert metric.compute() == pytest.approx(1)


def test_processes_are_concatenated() -> None:
    whole, halves = KendallTau(), [KendallTau(), KendallTau()]
    update_twice(whole)
    for half, part in zip(halves, (slice(3), slice(3, None)), strict=True):
        half.update(torch.tensor(SCORES).double()[part], torch.tensor(TRUTH).double()[part])
    halves[0].merge_state(halves[1])
    assert halves[0].compute() == pytest.approx(whole.compute().item())
