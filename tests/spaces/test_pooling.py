import itertools

import pytest
import torch
from space_checks import NORMS, check_extracted_networks
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightning_nas.errors import NASError
from lightning_nas.spaces import NormPolicy, Pooling
from lightning_nas.spaces.pooling import PoolingSupernet

PUBLISHED = Pooling()
SMALL = Pooling(channels=(4, 6, 8), image_size=8, in_channels=1)


def small_supernet() -> PoolingSupernet:
    supernet = SMALL.build_supernet()
    assert isinstance(supernet, PoolingSupernet)
    return supernet


def test_published_space() -> None:
    assert PUBLISHED.num_choices == (36,)
    assert len(PUBLISHED) == PUBLISHED.size == 36
    names = [PUBLISHED.encode(path) for path in PUBLISHED]
    assert (names[0], names[23], names[33], names[35]) == ("1-1-8", "4-3-3", "7-1-2", "8-1-1")
    assert [PUBLISHED.decode(name) for name in names] == list(PUBLISHED)
    assert "".join(str(bit) for bit in PUBLISHED.features((23,))) == "000100100"
    assert PUBLISHED.features((0,)) == (1, 1, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("arch", "macs"),
    [("4-3-3", 40_813_184), ("7-1-2", 91_144_832), ("1-1-8", 18_596_480), ("8-1-1", 149_340_800)],
)
def test_published_costs(arch: str, macs: int) -> None:
    cost = PUBLISHED.cost(PUBLISHED.decode(arch))
    assert (cost.params, cost.macs) == (272_474, macs)


def test_published_supernet_parameters() -> None:
    assert sum(p.numel() for p in PUBLISHED.build_supernet().parameters()) == 270_906


@pytest.mark.parametrize(
    "space",
    [
        SMALL,
        Pooling(depth=14, channels=(3, 5, 7), num_classes=4, in_channels=2, image_size=13),
        Pooling(depth=8),
    ],
)
def test_cost_is_that_of_the_network(space: Pooling) -> None:
    for path in itertools.islice(space, 0, None, 5):
        network = space.build_standalone(path).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, space.in_channels, space.image_size, space.image_size))
        params = sum(p.numel() for p in network.parameters())
        assert (space.cost(path).params, space.cost(path).macs) == (params, counter.get_total_flops() // 2)


@pytest.mark.parametrize("text", ["4-3", "4-3-4", "0-5-5", "a-b-c", "4-3-3-0", "", "-4-3-3", "²-4-4"])
def test_unknown_architectures_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(NASError, match="valid are three positive layer counts that add up to 10"):
        PUBLISHED.decode(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, "depth is 18"),
        ({"channels": (16, 32)}, "three positive widths"),
        ({"channels": (16, 0, 32)}, "three positive widths"),
        ({"image_size": 3}, "at least 4 pixels"),
    ],
)
def test_impossible_spaces_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(NASError, match=message):
        Pooling(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_extracted_network_equals_its_path_bitwise(training: bool, norm: NormPolicy) -> None:
    check_extracted_networks(SMALL, list(SMALL), norm, training, torch.randn(16, 1, 8, 8))


def test_extracted_network_shares_no_memory() -> None:
    supernet = SMALL.build_supernet()
    network = supernet.extract((0,))
    next(network.parameters()).data.zero_()
    assert next(supernet.parameters()).abs().sum() > 0


def test_images_are_halved_before_the_pooled_layers() -> None:
    supernet = small_supernet()
    sizes: list[int] = []
    for layer in supernet.layers[:-1]:
        layer.register_forward_hook(lambda _module, _args, out: sizes.append(out.shape[-1]))
    supernet(torch.randn(2, 1, 8, 8), SMALL.decode("4-3-3"))
    assert sizes == [8] * 4 + [4] * 3 + [2] * 3


def test_pooling_takes_the_maximum() -> None:
    supernet = small_supernet()
    x = torch.randn(2, 1, 8, 8)
    stem, first = supernet.layers[0], supernet.layers[1]
    with_pooling = supernet.run_stage(1, True, stem(x))
    assert torch.equal(with_pooling, first(F.max_pool2d(stem(x), 2)))


def test_shared_prefixes_run_once_and_change_no_bit() -> None:
    supernet = small_supernet()
    blocks = []
    for layer in supernet.layers[1:-1]:
        layer.register_forward_hook(lambda *_: blocks.append(1))
    x = torch.randn(32, 1, 8, 8)
    outputs = dict(supernet.forward_each(x, list(SMALL)))
    assert len(blocks) == 163  # of 36 x 9 = 324
    assert all(torch.equal(outputs[i], supernet(x, path)) for i, path in enumerate(SMALL))
