import itertools

import pytest
import torch
from space_checks import NORMS, check_extracted_networks
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightning_nas.errors import NASError
from lightning_nas.spaces import Cost, NormPolicy, Pooling
from lightning_nas.spaces.operations import BasicBlock
from lightning_nas.spaces.pooling import BackboneName, PoolingSupernet

PUBLISHED = Pooling()
SMALL = Pooling(channels=(4, 6, 8), image_size=8, in_channels=1)
SMALL_18 = Pooling("resnet18", (4, 6, 8, 10), image_size=8, in_channels=1)
SMALL_50 = Pooling("resnet50", (2, 3, 4, 5), (1, 2, 3, 1), image_size=8, in_channels=1)


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
        Pooling(blocks=(2, 1, 2), channels=(3, 5, 7), num_classes=4, in_channels=2, image_size=13),
        Pooling(blocks=(1, 1, 1)),
        SMALL_18,
        SMALL_50,
        Pooling("resnet50", (2, 3, 4, 5), (1, 1, 1, 1), image_size=11),
    ],
)
def test_cost_is_that_of_the_network(space: Pooling) -> None:
    for path in itertools.islice(space, 0, None, 5):
        network = space.build_standalone(path).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, space.in_channels, space.image_size, space.image_size))
        params = sum(p.numel() for p in network.parameters())
        assert (space.cost(path).params, space.cost(path).macs) == (params, counter.get_total_flops() // 2)


@pytest.mark.parametrize(
    ("backbone", "size", "numbered", "layers"),
    [
        ("resnet18", 56, {0: "1-1-1-6", 41: "3-2-2-2", 55: "6-1-1-1"}, 9),
        ("resnet50", 455, {0: "1-1-1-13", 204: "3-4-6-3", 454: "13-1-1-1"}, 16),
    ],
)
def test_larger_backbones(backbone: BackboneName, size: int, numbered: dict[int, str], layers: int) -> None:
    space = Pooling(backbone)
    assert space.size == size
    assert {number: space.encode((number,)) for number in numbered} == numbered
    assert all(sum(map(int, space.encode(path).split("-"))) == layers for path in space)
    assert [space.decode(space.encode(path)) for path in space] == list(space)
    # The default halves where the width grows.
    default = space.features(space.decode({"resnet18": "3-2-2-2", "resnet50": "3-4-6-3"}[backbone]))
    starts = {"resnet18": (2, 4, 6), "resnet50": (3, 7, 13)}[backbone]
    assert tuple(block for block, halved in enumerate(default) if halved) == starts


@pytest.mark.parametrize(
    ("space", "arch", "params", "macs"),
    [
        (Pooling("resnet18"), "3-2-2-2", 11_173_962, 555_422_720),
        (Pooling("resnet18"), "1-1-1-6", 11_173_962, 201_528_320),
        (Pooling("resnet18"), "6-1-1-1", 11_173_962, 2_241_532_928),
        (Pooling("resnet50", num_classes=100), "3-4-6-3", 23_705_252, 1_298_014_208),
        (Pooling("resnet50"), "3-4-6-3", 23_520_842, 1_297_829_888),
    ],
)
def test_published_costs_of_larger_backbones(space: Pooling, arch: str, params: int, macs: int) -> None:
    assert space.cost(space.decode(arch)) == Cost(params, macs)


@pytest.mark.parametrize(
    ("backbone", "classes", "params"), [("resnet18", 10, 11_164_362), ("resnet50", 100, 23_652_132)]
)
def test_supernet_parameters_of_larger_backbones(backbone: BackboneName, classes: int, params: int) -> None:
    with torch.device("meta"):
        supernet = Pooling(backbone, num_classes=classes).build_supernet()
    assert sum(p.numel() for p in supernet.parameters()) == params


def test_the_released_mask_loses_the_last_halving() -> None:
    fixed, released = Pooling("resnet50"), Pooling("resnet50", released_mask=True)
    lost = [path for path in released if sum(released.features(path)) == 2]
    assert len(lost) == 91
    assert all(released.encode(path).endswith("-1") for path in lost)
    assert all(released.cost(path) == fixed.cost(path) for path in fixed if path not in lost)
    assert round(released.cost(released.decode("9-4-2-1")).macs / 1e9, 3) == 6.545


def test_a_strided_block_without_change_of_width_keeps_every_other_pixel() -> None:
    block = BasicBlock(4, 4, NormPolicy())
    x = torch.randn(2, 4, 6, 6)
    conv, norm = block.first
    assert isinstance(conv, nn.Conv2d)
    first = norm(F.conv2d(x, conv.weight, stride=2, padding=1))
    expected = (block.second(first.relu()) + x[:, :, ::2, ::2]).relu()
    assert torch.equal(block(x, stride=2), expected)


@pytest.mark.parametrize("text", ["4-3", "4-3-4", "0-5-5", "a-b-c", "4-3-3-0", "", "-4-3-3", "²-4-4"])
def test_unknown_architectures_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(NASError, match="valid are 3 positive layer counts that add up to 10"):
        PUBLISHED.decode(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet34"}, "backbone is 'resnet34': valid are resnet20, resnet18, resnet50"),
        ({"channels": (16, 32)}, "as many widths as numbers of blocks"),
        ({"channels": (16, 0, 32)}, "valid are positive numbers"),
        ({"blocks": (1,), "channels": (4,)}, "halving the image 2 times needs at least 2 blocks"),
        ({"backbone": "resnet50", "image_size": 7}, "3 halvings need at least 8 pixels"),
        ({"image_size": 3}, "2 halvings need at least 4 pixels"),
    ],
)
def test_impossible_spaces_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(NASError, match=message):
        Pooling(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("space", [SMALL, SMALL_18, SMALL_50])
def test_extracted_network_equals_its_path_bitwise(space: Pooling, training: bool, norm: NormPolicy) -> None:
    check_extracted_networks(space, list(space), norm, training, torch.randn(16, 1, 8, 8))


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
