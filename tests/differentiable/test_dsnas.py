"""Worked examples, and decisions that are settled."""

import re

import pytest
import torch

from lightning_nas.differentiable import DSNAS, Alphas
from lightning_nas.differentiable.dsnas import leave_one_out_gradients, score_gradients
from lightning_nas.errors import NASError
from lightning_nas.spaces import NASBench201, RestrictedSpace

P = torch.tensor([1, 1.2, 0.8, 1.1, 0.9]).softmax(0)


def one_hot(choice: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(choice), 5).float()


def test_the_cost_of_a_choice_scales_its_score() -> None:
    [found] = score_gradients([torch.tensor(0.7)], [one_hot(3)], [P])
    expected = torch.tensor([-0.138610, -0.169299, -0.113484, 0.546812, -0.125419])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_paths_are_compared_with_each_other() -> None:
    losses = torch.tensor([2, 1, 1.2, 1.5, 1.8])
    drawn = [[one_hot(choice)] for choice in (0, 3, 3, 1, 2)]
    expected = torch.tensor([0.125, 0, 0.075, -0.2, 0])
    for p in (P, torch.full((5,), 0.2)):  # the probabilities cancel
        [found] = leave_one_out_gradients(losses, drawn, [p])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def alphas(first: list[float], space: NASBench201 | RestrictedSpace) -> Alphas:
    """The first decision has these, the others are equal."""
    return Alphas(space, [torch.tensor(first, dtype=torch.float32), *[torch.zeros(5)] * 5])


@pytest.mark.parametrize(
    ("strategy", "just", "not_yet"),
    [
        (DSNAS(gap=0.196857, gap_of="probability"), 0.8001, 0.7999),
        (DSNAS(gap=0.8, gap_of="logit"), 0.8001, 0.7999),
    ],
)
def test_decisions_are_settled_at_the_gap(strategy: DSNAS, just: float, not_yet: float) -> None:
    """Alphas 0.8 apart, the others being equal, are probabilities 0.19686 apart."""
    for ahead, settled in ((just, True), (not_yet, False)):
        found = alphas([0, 0, ahead, 0, 0], NASBench201())
        strategy.end_epoch(found)
        assert found.settled == [settled, *[False] * 5]
        assert found.genotype()[0] == 2


def test_removed_choices_do_not_count_for_the_gap() -> None:
    leaf = RestrictedSpace(NASBench201(), ((0, 1), *[(0, 1, 2, 3, 4)] * 5))
    for strategy in (DSNAS(), DSNAS(gap=0.8, gap_of="logit")):
        found = alphas([0, 2, 9, 9, 9], leaf)
        strategy.end_epoch(found)
        assert found.settled[0]
        assert found.genotype()[0] == 1


def test_without_a_gap_nothing_is_settled() -> None:
    found = alphas([9, 0, 0, 0, 0], NASBench201())
    DSNAS(gap=None).end_epoch(found)
    assert not any(found.settled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": 1}, "strategy.paths is 1: leave_one_out compares paths"),
        ({"gap": 0.0}, "strategy.gap is 0.0: valid are numbers above 0"),
        ({"gap": 1.0}, "strategy.gap is 1.0: probabilities are less than 1 apart"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(NASError, match=re.escape(message)):
        DSNAS(**options)  # type: ignore[arg-type]
