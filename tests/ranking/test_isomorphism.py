import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from ranking_examples import SCORES, TRUTH

from lightning_nas.errors import NASError
from lightning_nas.ranking import kendall_tau
from lightning_nas.ranking.isomorphism import (
    class_means,
    class_numbers,
    class_spread,
    post_deisomorphism,
    representatives,
)

KEYS = [0, 1, 2, 3, 0, 3, 3, 1]  # {0, 4}, {1, 7}, {2}, {3, 5, 6}


def test_four_classes_by_hand() -> None:
    spread = class_spread(SCORES, KEYS)
    assert (spread.classes, spread.repeated) == (4, 3)
    assert spread.within == pytest.approx(0.029309, abs=1e-6)
    assert spread.within_all == pytest.approx(0.021982, abs=1e-6)
    scores, truth = post_deisomorphism(SCORES, TRUTH, KEYS)
    assert scores == pytest.approx([0.64, 0.59, 0.66, 0.563333], abs=1e-6)
    assert truth == pytest.approx([92.7, 91.0, 94.2, 90.8333], abs=1e-4)
    assert kendall_tau(scores, truth) == pytest.approx(1)
    assert spread.between == pytest.approx(np.std(scores))
    assert representatives(KEYS).tolist() == [0, 1, 2, 3]


def slow_deviations(values: Sequence[float], keys: Sequence[str]) -> dict[str, list[float]]:
    members = defaultdict(list)
    for value, key in zip(values, keys, strict=True):
        members[key].append(value)
    return dict(members)


def test_spread_equals_its_definition() -> None:
    random = np.random.default_rng(0)
    values, keys = random.random(60), [str(i) for i in random.integers(0, 25, 60)]
    members = slow_deviations(values.tolist(), keys)
    spread = class_spread(values, keys)
    assert spread.within == pytest.approx(np.mean([np.std(v) for v in members.values() if len(v) > 1]))
    assert spread.within_all == pytest.approx(np.mean([np.std(v) for v in members.values()]))
    assert class_means(values, keys) == pytest.approx([np.mean(v) for v in members.values()])
    assert [keys[i] for i in representatives(keys)] == list(members)


def test_keys_are_anything_hashable() -> None:
    assert class_numbers(["b", (1, "a"), "b", frozenset({1})]).tolist() == [0, 1, 0, 2]


def test_a_path_without_score_makes_its_class_the_worst() -> None:
    scores, _ = post_deisomorphism([math.nan, 1, 2], [1, 2, 3], ["a", "a", "b"])
    assert math.isnan(scores[0])
    assert math.isnan(class_spread([math.nan, 1, 2], ["a", "a", "b"]).within)


def test_without_several_paths_per_class_there_is_no_spread() -> None:
    assert math.isnan(class_spread([1, 2], ["a", "b"]).within)
    assert math.isnan(class_spread([], []).between)


def test_lengths_must_agree() -> None:
    with pytest.raises(NASError, match=r"values have shape \(2,\), but there are 3 keys"):
        class_spread([1, 2], ["a", "b", "c"])
