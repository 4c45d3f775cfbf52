from typing import Literal

import pytest

from lightning_nas.spaces import (
    DARTS,
    AutoFormer,
    MobileNetV2,
    NASBench1Shot1,
    NASBench201,
    NASBenchMacro,
    NDSResNet,
    NDSResNeXt,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces.extremes import extreme_costs


def enumerated(space: SearchSpace, cost: str) -> tuple[int, int]:
    costs = [getattr(space.cost(path), cost) for path in space]
    return min(costs), max(costs)


@pytest.mark.parametrize("cost", ["params", "macs"])
@pytest.mark.parametrize(
    "space",
    [
        NASBench201(),
        NASBenchMacro(),
        Pooling(),
        RestrictedSpace(NASBench201(), ((0, 1), (2, 4), (0, 2), (1,), (0, 4), (1, 4))),
        AutoFormer(depths=(1, 2), embed_dims=(24, 36), heads=(1, 2), mlp_ratios=(1, 2)),
        RestrictedSpace(
            DARTS(),
            tuple(kept[-1:] for kept in DARTS().choices[:14])
            + DARTS().choices[14:18]
            + tuple(kept[-1:] for kept in DARTS().choices[18:]),
        ),
        RestrictedSpace(NDSResNet(), tuple(kept[1::4] for kept in NDSResNet().choices)),
        RestrictedSpace(NDSResNeXt(), tuple((kept[0], kept[-1]) for kept in NDSResNeXt().choices)),
    ],
    ids=lambda space: type(getattr(space, "whole", space)).__name__,
)
def test_climbing_finds_the_extremes(space: SearchSpace, cost: Literal["params", "macs"]) -> None:
    assert extreme_costs(space, cost) == enumerated(space, cost)


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["params", "macs"])
def test_climbing_finds_the_extremes_of_cells_that_are_no_product(cost: Literal["params", "macs"]) -> None:
    assert extreme_costs(NASBench1Shot1(), cost) == enumerated(NASBench1Shot1(), cost)


def test_the_extremes_of_a_chain_are_those_of_its_layers() -> None:
    space = MobileNetV2()
    first = space[0]
    base = space.cost(first).params
    gains = [
        [space.cost((*first[:layer], choice, *first[layer + 1 :])).params - base for choice in choices]
        for layer, choices in enumerate(space.choices)
    ]
    assert extreme_costs(space, "params") == (base + sum(map(min, gains)), base + sum(map(max, gains)))


def test_published_extremes() -> None:
    """NAS-Bench-201 with batch-norm: all edges without weights, and all of them 3x3 convolutions."""
    assert extreme_costs(NASBench201(), "params") == (73306, 1531546)
