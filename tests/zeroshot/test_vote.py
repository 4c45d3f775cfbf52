"""Pairwise majority of several estimators."""

import numpy as np
import pytest

from lightning_nas.errors import NASError
from lightning_nas.zeroshot import vote


def test_worked_example() -> None:
    assert vote([(1, 2, 3, 4), (2, 1, 4, 3), (4, 1, 2, 3)]).tolist() == [1, 0, 2, 3]


def test_majorities_that_go_round_are_all_alike() -> None:
    assert vote([(1, 2, 3), (2, 3, 1), (3, 1, 2)]).tolist() == [1, 1, 1]


def test_one_expert_keeps_its_order() -> None:
    estimates = np.random.default_rng(0).permutation(50).astype(float)
    assert vote([estimates]).tolist() == estimates.tolist()


def test_agrees_with_counting_pair_by_pair() -> None:
    experts = np.random.default_rng(1).integers(0, 5, size=(3, 30)).astype(float)
    experts[0, 3] = experts[0, 7] = np.nan
    experts[1, 3] = -np.inf
    columns = np.where(np.isfinite(experts), experts, -1).astype(int).tolist()

    def majority(i: int, j: int) -> int:
        return sum((column[i] > column[j]) - (column[i] < column[j]) for column in columns)

    expected = [sum(majority(i, j) > 0 for j in range(30)) for i in range(30)]
    assert vote(list(experts)).tolist() == expected


@pytest.mark.parametrize("experts", [[], [(1, 2), (1, 2, 3)]])
def test_experts_that_do_not_fit_are_refused(experts: list[tuple[float, ...]]) -> None:
    with pytest.raises(NASError, match=r"vote has \d experts: valid is at least one"):
        vote(experts)
