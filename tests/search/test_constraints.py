"""Limits, and which paths are within them."""

import numpy as np
import pytest
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.search import Constraint, FeasibleSpace, Limits
from lightning_nas.spaces import MobileNetV2, NASBench201, SearchSpace

SPACE = Toy(layers=4)


def params() -> list[int]:
    return sorted({SPACE.cost(path).params for path in SPACE})


def test_limits_are_inclusive_windows() -> None:
    _, second, third, *_ = params()
    feasible = FeasibleSpace(SPACE, Limits(min_params=second, max_params=third).constraints(SPACE))
    kept = {path for path in SPACE if path in feasible}
    assert kept == {path for path in SPACE if SPACE.cost(path).params in (second, third)}
    assert set(feasible.paths) == kept


def test_samples_are_uniform_over_the_feasible_paths() -> None:
    feasible = FeasibleSpace(SPACE, Limits(max_params=params()[1]).constraints(SPACE))
    rng = np.random.default_rng(0)
    counts = np.array(
        list(np.unique([SPACE.index(feasible.sample(rng)) for _ in range(9000)], return_counts=True)[1])
    )
    assert len(counts) == len(feasible.paths) == 9
    assert ((counts - 1000) ** 2 / 1000).sum() < 26  # chi-square with 8 degrees of freedom, p = .001


def test_rare_paths_are_climbed_to() -> None:
    space = MobileNetV2(image_size=32)
    low = min(space.cost(space[i * (space.size - 1) // 50]).macs for i in range(51))
    feasible = FeasibleSpace(space, Limits(max_macs=low * 1.02).constraints(space))
    rng = np.random.default_rng(0)
    found = [feasible.sample(rng) for _ in range(3)]
    assert all(space.cost(path).macs <= low * 1.02 for path in found)
    assert len(set(found)) == 3


def test_a_path_that_no_neighbour_leads_to_is_found_in_spaces_that_can_be_enumerated() -> None:
    space = Toy(layers=8)
    wanted = space[4321]
    feasible = FeasibleSpace(space, [Constraint("distance", lambda path: float(path != wanted), high=0)])
    assert feasible.sample(np.random.default_rng(0)) == wanted
    assert feasible.near(space[1234], np.random.default_rng(0)) is None


def test_the_way_into_the_limits_keeps_what_it_can_of_a_path() -> None:
    space = Toy(layers=12)
    feasible = FeasibleSpace(space, [Constraint("layers", lambda path: float(12 - path.count(0)), high=4)])
    near = feasible.near((2,) * 12, np.random.default_rng(0))
    assert near is not None
    assert sorted(near) == [0] * 8 + [2] * 4


@pytest.mark.parametrize("space", [NASBench201(), MobileNetV2()], ids=["enumerable", "large"])
def test_impossible_limits_name_the_nearest_value(space: SearchSpace) -> None:
    with pytest.raises(NASError) as refused:
        FeasibleSpace(space, Limits(max_macs=1000.0).constraints(space))
    told = "no path has" if space.size < 10**6 else "no path was found that has"
    assert str(refused.value).startswith(f"{told} macs at most 1,000: the nearest, ")
    if space.size < 10**6:
        assert f"has macs {min(space.cost(path).macs for path in space):,}" in str(refused.value)


def test_a_window_between_two_paths_is_impossible() -> None:
    first, second, *_ = params()
    with pytest.raises(NASError, match=r"at least [\d,]+ and at most [\d,]+: the nearest"):
        FeasibleSpace(SPACE, Limits(min_params=first + 1, max_params=second - 1).constraints(SPACE))
    with pytest.raises(NASError, match="params at least 5 and at most 4 is an empty window"):
        Limits(min_params=5, max_params=4).constraints(SPACE)


def test_any_number_can_be_limited() -> None:
    even = Constraint("ones", lambda path: float(path.count(1)), low=2, high=3)
    feasible = FeasibleSpace(SPACE, [even, *Limits(max_params=params()[3]).constraints(SPACE)])
    assert feasible.paths
    assert all(2 <= path.count(1) <= 3 for path in feasible.paths)


def test_a_path_of_another_space_is_not_feasible() -> None:
    assert (0, 0, 0, 3) not in FeasibleSpace(SPACE)
    assert (0, 0) not in FeasibleSpace(SPACE)
