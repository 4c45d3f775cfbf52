import math
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.mutation import Labels, mutation_bias, mutations
from lightning_nas.spaces import (
    NASBench201,
)

AB = [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_two_decisions_by_hand() -> None:
    found = mutations(AB, ["AB", "AB"])
    bias = mutation_bias([0.5, 0.45, 0.6, 0.65], [90, 92, 91, 91], found)
    assert bias.names == ("A", "B")
    assert bias.pairs.tolist() == [[0, 4], [4, 0]]
    assert bias.truth_increase[0, 1] == 0.5
    assert bias.score_increase[0, 1] == 0.75
    assert bias.bias[0, 1] == 0.25
    # The other way round: one pair of equal truth, so that increases and decreases do not add up to 1.
    assert bias.truth_ties[0, 1] == bias.truth_ties[1, 0] == 0.25
    assert bias.truth_increase[1, 0] == 0.25
    assert bias.bias[1, 0] == 0
    assert math.isnan(bias.bias[0, 0])


def slow_pairs(paths: list[tuple[int, ...]], labels: Labels) -> set[tuple[str, str, int, int]]:
    found = set()
    for i, j in combinations(range(len(paths)), 2):
        differing = [d for d in range(len(labels)) if paths[i][d] != paths[j][d]]
        if len(differing) == 1 and (names := labels[differing[0]]):
            low, high = (i, j) if paths[i] < paths[j] else (j, i)
            found.add((names[paths[low][differing[0]]], names[paths[high][differing[0]]], low, high))
    return found


@pytest.mark.parametrize("labels", [["abc", "abc", "xy"], ["abc", None, "xy"], [None] * 3])
def test_pairs_equal_their_definition(labels: Labels) -> None:
    space = list(product(range(3), range(3), range(2)))
    order = np.random.default_rng(0).permutation(len(space))[:13]
    paths = [space[i] for i in order]
    found = mutations(paths, labels)
    columns = zip(found.before, found.after, found.first, found.second, strict=True)
    listed = [(found.names[a], found.names[b], int(i), int(j)) for a, b, i, j in columns]
    assert len(listed) == len(set(listed))
    assert set(listed) == slow_pairs(paths, labels)


def test_shares_equal_their_definition() -> None:
    random = np.random.default_rng(1)
    paths = list(product(range(3), repeat=3))
    scores, truth = random.integers(0, 4, (2, len(paths))).astype(float)
    scores[5] = math.nan
    labels = ["abc"] * 3
    found = mutation_bias(scores, truth, mutations(paths, labels))
    scores[5] = -1
    for a, b in product(range(3), repeat=2):
        both_ways = [
            (i, j)
            for i, j in product(range(len(paths)), repeat=2)
            if [(p, q) for p, q in zip(paths[i], paths[j], strict=True) if p != q] == [(a, b)]
        ]
        assert found.pairs[a, b] == len(both_ways)
        if both_ways:
            assert found.truth_increase[a, b] == np.mean([truth[j] > truth[i] for i, j in both_ways])
            assert found.score_increase[a, b] == np.mean([scores[j] > scores[i] for i, j in both_ways])
            assert found.score_ties[a, b] == np.mean([scores[j] == scores[i] for i, j in both_ways])


def test_pairs_within_a_group_have_both_paths_in_it() -> None:
    inside = mutations(AB, ["AB", "AB"]).within([0, 1, 3])
    assert set(zip(inside.first.tolist(), inside.second.tolist(), strict=True)) == {(0, 1), (1, 3)}


def test_published_ratios_of_nasbench201(data_root: Path) -> None:
    space = NASBench201()
    truth = list(TabularBenchmark.read(data_root / "benchmarks/nasbench201.csv").column("cifar10").values())
    found = mutation_bias(truth, truth, mutations(list(space), space.choice_names))
    expected = {
        (0, 1): 0.5434,
        (0, 2): 0.7939,
        (0, 3): 0.8539,
        (0, 4): 0.4006,
        (1, 2): 0.7367,
        (1, 3): 0.8387,
        (1, 4): 0.1766,
        (2, 3): 0.7997,
        (2, 4): 0.1146,
        (3, 4): 0.0730,
    }
    for pair, ratio in expected.items():
        assert found.pairs[pair] == 18_750
        assert found.truth_increase[pair] == pytest.approx(ratio, abs=5e-5)
        assert 0.0135 < found.truth_ties[pair] < 0.0185
        assert found.bias[pair] == 0
    assert found.truth_ties[0, 1] == pytest.approx(0.017, abs=5e-4)


def test_no_pairs_give_nan() -> None:
    bias = mutation_bias([1, 2], [1, 2], mutations([(0, 0), (1, 1)], ["AB", "AB"]))
    assert np.isnan(bias.bias).all()
    assert not bias.pairs.any()
    assert not len(mutations([], ["AB"]).first)


def test_wrong_paths_are_refused() -> None:
    with pytest.raises(NASError, match=r"path \(0,\) has 1 decisions, but there are labels for 2"):
        mutations([(0,)], ["AB", "AB"])
    with pytest.raises(NASError, match="stands twice"):
        mutations([(0,), (0,)], ["AB"])
