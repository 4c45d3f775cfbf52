import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from space_checks import NORMS, check_extracted_networks
from torch.utils.flop_counter import FlopCounterMode

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.spaces import NASBenchMacro, NormPolicy

PUBLISHED = NASBenchMacro()
SMALL = NASBenchMacro(channels=(4, 4, 6, 8), layers=(1, 2, 1), head_channels=10, in_channels=1, image_size=9)


@pytest.mark.parametrize(
    ("arch", "params", "macs"),
    [
        ("00000000", 387_882, 7_713_280),
        ("11111111", 1_588_874, 53_246_464),
        ("22222222", 2_932_586, 105_660_928),
        ("22212220", 1_985_514, 85_164_544),
        ("02012100", 890_666, 47_327_744),
        ("12012100", 899_082, 51_743_232),
        ("11022212", 2_381_386, 75_305_472),
        ("22111222", 2_655_914, 85_840_384),
        ("00110021", 1_757_802, 38_130_176),
    ],
)
def test_published_costs(arch: str, params: int, macs: int) -> None:
    found = PUBLISHED.cost(PUBLISHED.decode(arch))
    assert (found.params, found.macs) == (params, macs)


def test_all_published_costs(data_root: Path) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks" / "nasbench_macro.csv")
    costs = {PUBLISHED.encode(path): PUBLISHED.cost(path) for path in PUBLISHED}
    table.check(costs)
    assert table.costs["params"] == {arch: found.params for arch, found in costs.items()}
    assert table.costs["flops"] == {arch: found.macs for arch, found in costs.items()}


def test_published_supernet_parameters() -> None:
    assert sum(p.numel() for p in PUBLISHED.build_supernet().parameters()) == 4_174_730


def test_index_is_the_number_in_base_three() -> None:
    assert PUBLISHED.size == 6561
    assert PUBLISHED.index(PUBLISHED.decode("00110021")) == int("00110021", 3)
    assert PUBLISHED.encode(PUBLISHED[int("22212220", 3)]) == "22212220"


def test_isomorphic_paths_are_those_of_the_paper() -> None:
    classes = Counter(map(PUBLISHED.canonical, PUBLISHED))
    assert len(classes) == 3969
    assert Counter(classes.values()) == {1: 2025, 2: 1620, 4: 324}
    assert all(PUBLISHED.canonical(key) == key for key in classes)
    assert all(PUBLISHED.class_size(key) == size for key, size in classes.items())
    assert len(set(map(PUBLISHED.functional_key, PUBLISHED))) == 6561


def test_isomorphic_paths_have_equal_ground_truth(data_root: Path) -> None:
    truth = TabularBenchmark.read(data_root / "benchmarks" / "nasbench_macro.csv").column("cifar10")
    by_class = {PUBLISHED.canonical(path): truth[PUBLISHED.encode(path)] for path in PUBLISHED}
    assert all(truth[PUBLISHED.encode(path)] == by_class[PUBLISHED.canonical(path)] for path in PUBLISHED)


def test_isomorphic_paths_are_one_network() -> None:
    space = NASBenchMacro(channels=(4, 4, 6), layers=(3, 2), head_channels=8, image_size=8)
    one, other = space.build_standalone((1, 0, 2, 2, 1)), space.build_standalone((1, 2, 0, 2, 1))
    assert space.canonical((1, 0, 2, 2, 1)) == space.canonical((1, 2, 0, 2, 1)) == (1, 2, 0, 2, 1)
    for mine, yours in zip(one.parameters(), other.parameters(), strict=True):
        mine.data.copy_(yours.data)
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(one(x), other(x))


def test_cost_is_that_of_the_network() -> None:
    for path in itertools.islice(SMALL, 0, None, 7):
        network = SMALL.build_standalone(path).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, 1, 9, 9))
        expected = (sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)
        assert (SMALL.cost(path).params, SMALL.cost(path).macs) == expected


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_extracted_network_equals_its_path_bitwise(training: bool, norm: NormPolicy) -> None:
    rng = np.random.default_rng(0)
    paths = sorted({SMALL.sample(rng) for _ in range(80)})
    assert len(paths) >= 50
    check_extracted_networks(SMALL, paths, norm, training, torch.randn(8, 1, 9, 9))


def test_a_path_trains_its_own_weights_and_the_shared_ones() -> None:
    supernet = SMALL.build_supernet()
    for path in ((0, 0, 0, 0), (1, 2, 0, 1)):
        supernet.zero_grad()
        supernet(torch.randn(4, 1, 9, 9), path).sum().backward()
        used = {id(p) for p in supernet.parameters() if p.grad is not None}
        assert used == {id(p) for p in supernet.path_parameters(path)}


def test_choices_are_those_of_the_paper() -> None:
    supernet = NASBenchMacro(channels=(4, 4, 6), layers=(1, 2), image_size=8).build_supernet()
    strided, changing, keeping = supernet.layers  # type: ignore[misc]
    assert [type(layer[0]).__name__ for layer in (strided, changing, keeping)] == ["Sequential"] * 2 + [
        "Identity"
    ]
    for choice, (kernel, inner) in {1: (3, 18), 2: (5, 36)}.items():
        block = keeping[choice]
        depthwise = block.filter[0]
        assert (depthwise.kernel_size, depthwise.groups) == ((kernel, kernel), inner)
        x = torch.randn(2, 6, 4, 4)
        expected = x + block.project(block.filter(block.expand(x).relu()).relu())
        assert torch.equal(block(x), expected)
    assert not changing[1].residual


def test_shared_prefixes_run_once_and_change_no_bit() -> None:
    supernet = SMALL.build_supernet()
    calls = []
    for layer in supernet.layers:  # type: ignore[union-attr]
        for operation in layer:
            operation.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(4, 1, 9, 9)
    outputs = dict(supernet.forward_each(x, list(SMALL)))
    assert len(calls) == 3 + 9 + 27 + 81
    assert all(torch.equal(outputs[i], supernet(x, path)) for i, path in enumerate(SMALL))


@pytest.mark.parametrize(
    ("text", "message"),
    [("0000000", "has 7 digits: valid are 8"), ("00030000", "has '3' at layer 3: valid are 0, 1 and 2")],
)
def test_wrong_architectures_are_refused(text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        PUBLISHED.decode(text)


def test_impossible_spaces_are_refused() -> None:
    with pytest.raises(NASError, match="one width more than there are stages"):
        NASBenchMacro(channels=(32, 64), layers=(2, 3))


def test_images_too_small_for_the_halvings_are_refused() -> None:
    with pytest.raises(NASError, match="image_size is 7: halving it 3 times needs at least 8 pixels"):
        NASBenchMacro(image_size=7)
