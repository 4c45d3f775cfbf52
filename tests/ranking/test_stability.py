import math

import pytest
from ranking_examples import LATER_SCORES, SCORES

from lightning_nas.errors import NASError
from lightning_nas.ranking import stability as module
from lightning_nas.ranking.stability import forgetting


def test_eight_paths_by_hand() -> None:
    found = module.stability(SCORES, LATER_SCORES, percent=25)
    assert found["rel_kendall_tau"] == pytest.approx(0.763763, abs=1e-6)
    assert found["rel_p_at_top"] == 0.5
    assert module.stability(SCORES, LATER_SCORES, percent=50)["rel_p_at_top"] == 1


def test_paths_without_score_are_the_worst_on_both_sides() -> None:
    found = module.stability([3, math.nan, 1, 2], [3, 2, 1, math.nan], percent=25)
    assert found == module.stability([3, 0, 1, 2], [3, 2, 1, 0], percent=25)
    assert found["rel_p_at_bottom"] == 0


def test_too_few_or_constant_scores_give_nan() -> None:
    assert all(map(math.isnan, module.stability([1], [2]).values()))
    assert math.isnan(module.stability([1, 2], [3, 3])["rel_kendall_tau"])


def test_forgetting_is_negative_where_accuracy_falls() -> None:
    assert forgetting([50, 60], [45, 61]).tolist() == [-5, 1]
    with pytest.raises(NASError, match="same paths"):
        forgetting([1, 2], [1])


def test_lengths_must_agree() -> None:
    with pytest.raises(NASError, match="shape"):
        module.stability([1, 2], [1])
