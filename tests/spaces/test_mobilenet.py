import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import MobileNetV2, NormPolicy
from lightning_nas.spaces.mobilenet import SKIP

PUBLISHED = MobileNetV2()
CHANGING = (0, 4, 8, 12, 16, 20)
SMALLEST = "066606660666066606660"
TINY = MobileNetV2(
    stem_channels=4,
    first_channels=4,
    channels=(6, 8),
    layers=(3, 1),
    strides=(1, 2),
    stem_stride=1,
    head_channels=8,
    image_size=8,
)


def test_published_choices_and_size() -> None:
    assert PUBLISHED.num_choices == tuple(6 if layer in CHANGING else 7 for layer in range(21))
    assert PUBLISHED.size == 6**6 * 7**15 == 221_502_229_807_900_608


@pytest.mark.parametrize(
    ("arch", "params", "macs"),
    [
        ("0" * 21, 3_191_928, 257_422_208),
        ("1" * 21, 4_684_776, 472_620_800),
        ("2" * 21, 3_275_640, 284_216_192),
        ("3" * 21, 4_852_200, 526_208_768),
        ("4" * 21, 3_401_208, 324_407_168),
        ("5" * 21, 5_103_336, 606_590_720),
        (SMALLEST, 2_154_984, 102_528_896),
    ],
)
def test_published_costs(arch: str, params: int, macs: int) -> None:
    found = PUBLISHED.cost(PUBLISHED.decode(arch))
    assert (found.params, found.macs) == (params, macs)


def test_costs_of_random_paths_are_spread_as_published() -> None:
    rng = np.random.default_rng(0)
    costs = [PUBLISHED.cost(PUBLISHED.sample(rng)) for _ in range(3000)]
    macs = np.array([cost.macs for cost in costs]) / 1e6
    assert np.mean([cost.params for cost in costs]) / 1e6 == pytest.approx(3.85, abs=0.02)
    assert (macs.mean(), macs.std()) == (pytest.approx(374, abs=3), pytest.approx(38, abs=2))
    below = [(macs <= bound).mean() for bound in (330, 400, 475)]
    assert below == pytest.approx([0.13, 0.76, 1], abs=0.03)


def test_published_network() -> None:
    """Widths, strides, kernels and residuals of a network with every choice."""
    path = PUBLISHED.decode("012345601234560123450")
    with torch.device("meta"):
        supernet = PUBLISHED.build_supernet()
        network: Any = PUBLISHED.build_standalone(path)
    assert sum(p.numel() for p in supernet.parameters()) == 15_818_520

    kernels, expansions = (3, 3, 5, 5, 7, 7), (3, 6, 3, 6, 3, 6)
    widths = (24,) * 4 + (40,) * 4 + (80,) * 4 + (96,) * 4 + (192,) * 4 + (320,)
    before = 16
    for number, (layer, choice, width) in enumerate(zip(network.layers, path, widths, strict=True)):
        (operation,) = layer.values()
        if choice == SKIP:
            assert isinstance(operation, nn.Identity)
            continue
        depthwise = operation.filter[0]
        stride = 2 if number in (0, 4, 8, 16) else 1
        assert (operation.expand[0].in_channels, operation.project[0].out_channels) == (before, width)
        assert depthwise.groups == depthwise.in_channels == before * expansions[choice]
        assert depthwise.kernel_size == (kernels[choice],) * 2
        assert depthwise.stride == (stride, stride)
        assert operation.residual == (number not in CHANGING)
        before = width

    stem = [
        (conv.in_channels, conv.out_channels, conv.stride[0], conv.groups) for conv, _ in network.stem[::2]
    ]
    assert stem == [(3, 32, 2, 1), (32, 32, 1, 32), (32, 16, 1, 1)]
    assert all(isinstance(activation, nn.ReLU6) for activation in (*network.stem[1::2], network.head[1]))
    assert (network.head[0][0].in_channels, network.head[0][0].out_channels) == (320, 1280)


def test_blocks_are_those_of_the_paper() -> None:
    """Activations are clipped at 6, and the projection is linear."""
    supernet: Any = TINY.build_supernet(norm=NormPolicy(affine=True))
    block = supernet.layers[1][0]
    for norm in (block.expand[1], block.filter[1], block.project[1]):
        nn.init.constant_(norm.weight, 10)  # reaches beyond 6
    x = torch.randn(2, 6, 4, 4)
    hidden = nn.functional.hardtanh(block.expand(x), 0, 6)
    expected = x + block.project(nn.functional.hardtanh(block.filter(hidden), 0, 6))
    assert torch.equal(block(x), expected)


def test_identities_of_a_stage_commute() -> None:
    path = PUBLISHED.decode("062606660666016606660")
    canonical = PUBLISHED.canonical(path)
    assert PUBLISHED.encode(canonical) == "026606660666016606660"
    assert PUBLISHED.class_size(path) == math.comb(3, 2) ** 2
    assert PUBLISHED.class_size(PUBLISHED.decode(SMALLEST)) == 1
    # The layer of the sixth stage never offers the identity, though it keeps the resolution.
    assert PUBLISHED.canonical(PUBLISHED.decode("0" * 21)) == (0,) * 21


def test_class_sizes_count_the_paths_of_a_class() -> None:
    classes = Counter(map(TINY.canonical, TINY))
    assert all(TINY.canonical(key) == key and TINY.class_size(key) == size for key, size in classes.items())
    # A run of two optional layers is a sequence of at most two blocks: 1 + 6 + 36.
    assert len(classes) == 6 * 43 * 6


def test_isomorphic_paths_are_one_network() -> None:
    paths = [(1, SKIP, 3, 0), (1, 3, SKIP, 0)]
    one, other = map(TINY.build_standalone, paths)
    assert TINY.canonical(paths[0]) == TINY.canonical(paths[1]) == paths[1]
    for mine, yours in zip(one.parameters(), other.parameters(), strict=True):
        mine.data.copy_(yours.data)
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(one(x), other(x))


def test_equal_neighbouring_stages_are_one_run() -> None:
    """Where a stage changes nothing, identities move across its border."""
    space = MobileNetV2(channels=(16, 16), layers=(1, 2), strides=(1, 1))
    assert space.num_choices == (7, 7, 7)
    assert space.canonical((SKIP, 2, 3)) == (2, 3, SKIP)
    assert space.class_size((SKIP, SKIP, 3)) == 3


def test_outline_has_a_row_per_stage() -> None:
    outline = PUBLISHED.outline(PUBLISHED.decode("016606660666066606663"))
    assert outline.titles[0] == "24 channels, 56 x 56"
    assert outline.titles[-1] == "320 channels, 7 x 7"
    assert [len(row) for row in outline.rows] == [4, 4, 4, 4, 4, 1]
    assert outline.rows[0] == ("MB k3 e3", "MB k3 e6", "identity", "identity")
    assert outline.rows[-1] == ("MB k5 e6",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0" * 20, "has 20 digits: valid are 21"),
        ("0" * 4 + "6" + "0" * 16, "has '6' at layer 4: valid are 0 to 5"),
        ("07" + "0" * 19, "has '7' at layer 1: valid are 0 to 6"),
    ],
)
def test_wrong_architectures_are_refused(text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        PUBLISHED.decode(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": (24, 40)}, "positive numbers, one of each per stage"),
        ({"strides": (2, 2, 2, 0, 2, 1)}, "positive numbers, one of each per stage"),
        ({"channels": (), "layers": (), "strides": ()}, "positive numbers, one of each per stage"),
        ({"stem_stride": 0}, "stem_stride is 0: valid are numbers from 1"),
        ({"image_size": 31}, "image_size is 31: .* needs at least 32 pixels"),
    ],
)
def test_impossible_spaces_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(NASError, match=message):
        MobileNetV2(**change)  # type: ignore[arg-type]


def test_shared_prefixes_run_once() -> None:
    supernet: Any = TINY.build_supernet()
    calls = []
    for layer in supernet.layers:
        for operation in layer:
            operation.register_forward_hook(lambda *_: calls.append(1))
    paths = list(itertools.product((0, 5), repeat=4))
    assert len(dict(supernet.forward_each(torch.randn(2, 3, 8, 8), paths))) == 16
    assert len(calls) == 2 + 4 + 8 + 16
