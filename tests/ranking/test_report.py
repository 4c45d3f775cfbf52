import math

import numpy as np
import pytest
from ranking_examples import COMPLEXITY, SCORES, TRUTH

from lightning_nas.ranking import ranking_metrics
from lightning_nas.ranking.report import complexity_report, isomorphism_report, ranking_report


def test_names_that_runs_write_mean_the_same() -> None:
    found, logged = ranking_report(SCORES, TRUTH), ranking_metrics(SCORES, TRUTH)
    assert {name: found[name] for name in logged} == logged


def test_eight_paths_by_hand() -> None:
    found = ranking_report(SCORES, TRUTH)
    assert found["unscored"] == 0
    assert found["kendall_tau_a"] == pytest.approx(0.785714, abs=1e-6)
    # The best two are scored alike; of the best four, 3 pairs are in order, 2 are not, and that one is tied.
    assert math.isnan(found["tau_of_top_25"])
    assert found["tau_of_top_50"] == pytest.approx((3 - 2) / math.sqrt(5 * 6))
    assert found["best_acc_at_10"] == found["worst_acc_at_10"] == 94.2
    # 400 chunks of eight paths have one path at most.
    assert found["tau_chunks_equal_count"] == found["kendall_tau"]
    found = complexity_report(SCORES, TRUTH, COMPLEXITY, groups=4)
    assert (found["complexity_bias"], found["complexity_bias_ties"]) == (0.5, 0.5)
    assert [found[f"rank_diff_group_{i}"] for i in (1, 2, 3, 4)] == [0, 0, 0.5, -0.5]
    assert found["tau_group_3"] == pytest.approx(-1)
    found = isomorphism_report(SCORES, TRUTH, [0, 1, 2, 3, 0, 3, 3, 1])
    assert (found["iso_classes"], found["iso_classes_repeated"]) == (4, 3)
    assert found["iso_spread"] == pytest.approx(0.029309, abs=1e-6)
    assert found["tau_iso_mean"] == pytest.approx(1)
    # Ranks 4 5 1 7 2 8 3 6 of 8; deviations of {4, 2}, {5, 6} and {7, 8, 3}.
    expected = np.mean([np.std([4, 2]), np.std([5, 6]), np.std([7, 8, 3])]) / 8
    assert found["iso_rank_spread"] == pytest.approx(expected)


def test_unscored_paths_are_counted_and_the_worst() -> None:
    found = ranking_report([math.nan, 2, 3], [3, 1, 2])
    expected = ranking_report([0, 2, 3], [3, 1, 2])
    assert found.pop("unscored") == 1
    assert expected.pop("unscored") == 0
    assert math.isnan(found.pop("pearson"))
    expected.pop("pearson")
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("values", [[], [90.0]])
def test_too_few_paths_give_nan(values: list[float]) -> None:
    found = ranking_report(values, values) | complexity_report(values, values, values)
    found |= isomorphism_report(values, values, ["a"] * len(values))
    assert found.pop("n") == len(values)
    correlations = {name: value for name, value in found.items() if "tau" in name or "_at_" in name}
    assert all(map(math.isnan, correlations.values()))


def test_without_ground_truth_only_spreads_are_known() -> None:
    assert set(isomorphism_report([1, 2], None, ["a", "a"])) == {
        "iso_classes",
        "iso_classes_repeated",
        "iso_spread",
        "iso_spread_between",
        "iso_rank_spread",
    }
