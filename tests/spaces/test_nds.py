import dataclasses
import itertools
from collections import Counter
from collections.abc import Hashable
from typing import Literal, cast

import numpy as np
import pytest
import torch
from space_checks import NORMS, check_extracted_networks, images
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import NDSResNet, NDSResNeXt, NormPolicy, Path
from lightning_nas.spaces.nds_networks import NDSSupernet

Picking = Literal["ordinal", "l1"]
PICKINGS: tuple[Picking, ...] = ("ordinal", "l1")
RESNET, RESNEXT = NDSResNet(), NDSResNeXt()
SMALL_RESNET = NDSResNet(depths=(1, 2), widths=(4, 6, 9), stem_width=4, in_channels=1, image_size=8)
SMALL_RESNEXT = NDSResNeXt(
    depths=(1, 2),
    widths=(4, 8, 12),
    ratios=(0.5, 1),
    groups=(1, 2),
    stem_width=4,
    in_channels=1,
    image_size=8,
)
SMALL = [SMALL_RESNET, SMALL_RESNEXT]


def supernet_of(space: NDSResNet | NDSResNeXt, norm: NormPolicy = NORMS[0]) -> NDSSupernet:
    supernet = space.build_supernet(norm=norm)
    assert isinstance(supernet, NDSSupernet)
    return supernet


def sampled(space: NDSResNet | NDSResNeXt, number: int) -> list[Path]:
    rng = np.random.default_rng(0)
    return sorted({space.sample(rng) for _ in range(number)})


# --------------------------------------------------------------------------------------------- the published spaces


def test_published_sizes() -> None:
    assert (RESNET.size, RESNEXT.size) == (1_259_712, 11_390_625)
    assert RESNET.num_choices == (9, 12) * 3
    assert RESNEXT.num_choices == (5, 5, 3, 3) * 3


@pytest.mark.parametrize(
    ("space", "arch", "params", "macs"),
    [
        (RESNET, "d3-3-3_w16-32-64", 272_474, 40_813_184),
        (RESNET, "d1-1-1_w16-16-16", 15_226, 6_717_600),
        (RESNET, "d24-24-24_w256-256-256", 84_595_162, 37_510_105_600),
        (RESNEXT, "d2-2-2_w64-128-256_r0.5-0.5-0.5_g4-4-4", 296_282, 47_630_848),
        (RESNEXT, "d1-1-1_w16-16-16_r0.25-0.25-0.25_g4-4-4", 1_846, 806_304),
        (RESNEXT, "d16-16-16_w256-256-256_r1-1-1_g1-1-1", 34_755_034, 15_527_758_336),
    ],
)
def test_published_costs(space: NDSResNet | NDSResNeXt, arch: str, params: int, macs: int) -> None:
    found = space.cost(space.decode(arch))
    assert (found.params, found.macs) == (params, macs)


def test_decisions_come_stage_by_stage() -> None:
    assert RESNET.decode("d1-2-24_w16-24-256") == (0, 0, 1, 1, 8, 11)
    assert RESNEXT.decode("d1-2-4_w16-32-64_r0.25-0.5-1_g1-2-4") == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)


# ------------------------------------------------------------------------------------------------------ structure


def shapes(network: nn.Module) -> list[tuple[str, int, int, int, int, int]]:
    """Name, inputs, outputs, kernel, stride and groups of every convolution."""
    return [
        (
            name.removeprefix("blocks."),
            m.in_channels,
            m.out_channels,
            m.kernel_size[0],
            m.stride[0],
            m.groups,
        )
        for name, m in network.named_modules()
        if isinstance(m, nn.Conv2d)
    ]


def test_resnet_blocks_are_those_of_the_paper() -> None:
    network = RESNET.build_standalone(RESNET.decode("d2-1-1_w16-24-24"))
    assert shapes(network) == [
        ("stem.0.0", 3, 16, 3, 1, 1),
        ("0-0.branch.0.0", 16, 16, 3, 1, 1),
        ("0-0.branch.1.0", 16, 16, 3, 1, 1),
        ("0-1.branch.0.0", 16, 16, 3, 1, 1),
        ("0-1.branch.1.0", 16, 16, 3, 1, 1),
        ("1-0.branch.0.0", 16, 24, 3, 2, 1),
        ("1-0.branch.1.0", 24, 24, 3, 1, 1),
        ("1-0.shortcut.0", 16, 24, 1, 2, 1),
        ("2-0.branch.0.0", 24, 24, 3, 2, 1),
        ("2-0.branch.1.0", 24, 24, 3, 1, 1),
        ("2-0.shortcut.0", 24, 24, 1, 2, 1),
    ]


def test_resnext_blocks_are_those_of_the_paper() -> None:
    network = RESNEXT.build_standalone(RESNEXT.decode("d1-2-1_w32-64-16_r0.25-0.5-1_g1-4-2"))
    assert shapes(network) == [
        ("stem.0.0", 3, 16, 3, 1, 1),
        ("0-0.branch.0.0", 16, 8, 1, 1, 1),
        ("0-0.branch.1.0", 8, 8, 3, 1, 1),
        ("0-0.branch.2.0", 8, 32, 1, 1, 1),
        ("0-0.shortcut.0", 16, 32, 1, 1, 1),
        ("1-0.branch.0.0", 32, 32, 1, 1, 1),
        ("1-0.branch.1.0", 32, 32, 3, 2, 4),
        ("1-0.branch.2.0", 32, 64, 1, 1, 1),
        ("1-0.shortcut.0", 32, 64, 1, 2, 1),
        ("1-1.branch.0.0", 64, 32, 1, 1, 1),
        ("1-1.branch.1.0", 32, 32, 3, 1, 4),
        ("1-1.branch.2.0", 32, 64, 1, 1, 1),
        ("2-0.branch.0.0", 64, 16, 1, 1, 1),
        ("2-0.branch.1.0", 16, 16, 3, 2, 2),
        ("2-0.branch.2.0", 16, 16, 1, 1, 1),
        ("2-0.shortcut.0", 64, 16, 1, 2, 1),
    ]


def test_outline_shows_depths_and_widths() -> None:
    outline = RESNEXT.outline(RESNEXT.decode("d1-2-1_w32-64-16_r0.25-0.5-1_g1-4-2"))
    assert outline.titles == ("32 channels, 32 x 32", "64 channels, 16 x 16", "16 channels, 8 x 8")
    assert outline.rows[1] == ("bottleneck 32, groups 4",) * 2
    assert list(map(len, RESNET.outline(RESNET.decode("d1-4-2_w16-16-16")).rows)) == [1, 4, 2]


# ------------------------------------------------------------------------------------------------- weight sharing


def slow_convolution(
    x: Tensor, stored: Tensor, outputs: list[int], inputs: list[int], stride: int, groups: int
) -> Tensor:
    """One output filter after the other, its weights taken from the stored tensor one input at a time."""
    channels = []
    for i, filter in enumerate(outputs):
        size = len(inputs) // groups
        own = i * groups // len(outputs)  # the group of the path that the filter belongs to
        if groups == 1:
            read = inputs
        else:
            part = filter * groups // stored.shape[0]
            first = part * stored.shape[1] // groups
            read = list(range(first, first + size))
        weight = torch.stack([stored[filter, j] for j in read])[None]
        used = x[:, own * size : (own + 1) * size]
        channels.append(F.conv2d(used, weight, stride=stride, padding=stored.shape[-1] // 2))
    return torch.cat(channels, dim=1)


def slow_forward(supernet: NDSSupernet, text: str, x: Tensor) -> Tensor:
    """The network of a text, put together from the names of the supernet's tensors."""
    space = supernet.space
    weights = dict(supernet.named_parameters())
    depths, widths, *more = [[float(v) for v in part[1:].split("-")] for part in text.split("_")]
    x = F.conv2d(x, weights["stem.0.0.weight"], padding=1)
    x = F.batch_norm(x, None, None, training=True).relu()
    before = list(range(space.stem_width))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        norms = [float(f.abs().sum()) for f in weights[f"blocks.{stage}-0.shortcut.0.weight"]]
        order = sorted(range(len(norms)), key=lambda c: -norms[c])
        after = list(range(int(width))) if space.picking == "ordinal" else sorted(order[: int(width)])
        for number in range(int(depth)):
            stride = space.strides[stage] if number == 0 else 1
            layers = [(before, after, stride, 1), (after, after, 1, 1)]
            if more:
                (ratio, groups) = more[0][stage], int(more[1][stage])
                inner = list(range(round(width * ratio)))
                layers = [(before, inner, 1, 1), (inner, inner, stride, groups), (inner, after, 1, 1)]
            y = x
            for i, (inputs, outputs, step, groups) in enumerate(layers):
                stored = weights[f"blocks.{stage}-{number}.branch.{i}.0.weight"]
                y = slow_convolution(y.relu(), stored, outputs, inputs, step, groups)
                y = F.batch_norm(y, None, None, training=True)
            if len(before) != len(after) or stride != 1:
                stored = weights[f"blocks.{stage}-{number}.shortcut.0.weight"]
                x = slow_convolution(x, stored, after, before, stride, 1)
                x = F.batch_norm(x, None, None, training=True)
            x, before = (x + y).relu(), after
    return F.linear(x.mean((2, 3)), weights["head.weight"][:, before], weights["head.bias"])


@pytest.mark.parametrize("picking", PICKINGS)
@pytest.mark.parametrize("space", SMALL, ids=["resnet", "resnext"])
def test_paths_equal_an_independent_slow_version(space: NDSResNet | NDSResNeXt, picking: Picking) -> None:
    torch.manual_seed(0)
    space = dataclasses.replace(space, picking=picking)
    supernet, x = supernet_of(space).double(), images(space, 4).double()
    with torch.no_grad():
        for path in sampled(space, 12):
            torch.testing.assert_close(supernet(x, path), slow_forward(supernet, space.encode(path), x))


def test_l1_picks_the_largest_filters_and_of_equal_ones_the_first() -> None:
    space = NDSResNet(depths=(1,), widths=(2, 4), stem_width=3, strides=(1,), picking="l1", image_size=4)
    supernet = supernet_of(space)
    shortcut = supernet.get_parameter("blocks.0-0.shortcut.0.weight")
    for norms, picked in (((1, 3, 2, 3), [1, 3]), ((5, 1, 5, 5), [0, 2]), ((1, -9, 1, 1), [0, 1])):
        shortcut.data.copy_(torch.tensor(norms).view(4, 1, 1, 1).expand_as(shortcut) / 3)
        network = supernet.extract(space.decode("d1_w2"))
        assert torch.equal(network.get_parameter("blocks.0-0.shortcut.0.weight"), shortcut[picked])
        stored = supernet.get_parameter("blocks.0-0.branch.1.0.weight")
        kept = network.get_parameter("blocks.0-0.branch.1.0.weight")
        assert torch.equal(kept, stored[picked][:, picked])
        assert torch.equal(network.get_parameter("head.weight"), supernet.head.weight[:, picked])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS, ids=["shared", "standalone"])
@pytest.mark.parametrize("space", SMALL, ids=["resnet", "resnext"])
def test_extracted_network_of_picked_channels_equals_its_path_bitwise(
    space: NDSResNet | NDSResNeXt, norm: NormPolicy, training: bool
) -> None:
    space = dataclasses.replace(space, picking="l1")
    check_extracted_networks(space, sampled(space, 15), norm, training, images(space, 4))


@pytest.mark.parametrize("picking", PICKINGS)
@pytest.mark.parametrize("space", SMALL, ids=["resnet", "resnext"])
def test_running_statistics_are_those_of_the_slice(space: NDSResNet | NDSResNeXt, picking: Picking) -> None:
    space = dataclasses.replace(space, picking=picking)
    supernet, x = supernet_of(space, NORMS[1]), images(space, 4)
    path = space[0]
    network = supernet.extract(path)
    for _ in range(2):
        supernet(x, path).sum().backward()
        network(x)
    after = supernet.extract(path).state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in network.state_dict().items())
    last = supernet.get_buffer("blocks.0-0.branch.1.1.running_mean")
    assert int((last != 0).sum()) == len(network.get_buffer("blocks.0-0.branch.1.1.running_mean")) < len(last)


def test_gradients_pass_evaluation_mode_with_running_statistics() -> None:
    for picking in PICKINGS:
        space = dataclasses.replace(SMALL_RESNEXT, picking=picking)
        supernet = supernet_of(space, NORMS[1]).eval()
        supernet(images(space), space[0]).sum().backward()
        assert supernet.get_parameter("stem.0.0.weight").grad is not None


@pytest.mark.parametrize("picking", PICKINGS)
@pytest.mark.parametrize("groups", [(1, 2), (2, 3)])
def test_choices_hold_exactly_what_their_paths_use(picking: Picking, groups: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    space = NDSResNeXt(
        depths=(1, 2),
        widths=(6, 12),
        ratios=(1,),
        groups=groups,
        stem_width=6,
        strides=(1, 2),
        picking=picking,
        in_channels=1,
        image_size=4,
    )
    supernet, x = supernet_of(space, NormPolicy(affine=True)), images(space, 8)
    used: dict[tuple[int, int], dict[str, Tensor]] = {}
    for path in space:
        supernet.zero_grad()
        supernet(x, path).square().sum().backward()
        for name, parameter in supernet.named_parameters():
            if parameter.grad is not None:
                for taken in enumerate(path):
                    mask = used.setdefault(taken, {}).setdefault(
                        name, torch.zeros_like(parameter, dtype=torch.bool)
                    )
                    mask |= parameter.grad != 0
    names = {id(parameter): name for name, parameter in supernet.named_parameters()}
    for (decision, choice), masks in used.items():
        stage = decision // 4
        held: dict[str, Tensor] = {}
        for part in supernet.choice_parameters(decision, choice):
            mask = held.setdefault(
                names[id(part.parameter)], torch.zeros_like(part.parameter, dtype=torch.bool)
            )
            mask[part.index] = True
        expected = {name for name in masks if name.startswith(f"blocks.{stage}-")}
        if decision % 4 == 1:
            readers = ["head.weight"]
            if stage == 0:
                readers = ["blocks.1-0.branch.0.0.weight", "blocks.1-0.branch.0.1.weight"]
                readers += ["blocks.1-0.branch.0.1.bias"]
                readers += [name for name in masks if name.startswith("blocks.1-0.shortcut")]
            expected.update(readers)
        assert held.keys() == expected
        assert all(torch.equal(held[name], masks[name]) for name in held), (decision, choice)


# ---------------------------------------------------------------------------------------------- chains and classes


def test_common_blocks_run_once_in_paths_of_different_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    space = NDSResNet(depths=(1, 2, 4), widths=(4,), stem_width=4, strides=(1, 2), image_size=4)
    supernet, calls = supernet_of(space), Counter[Hashable]()
    run_stage = supernet.run_stage

    def counted(depth: int, choice: Hashable, x: Tensor) -> Tensor:
        calls[choice if isinstance(choice, str) else type(choice).__name__] += 1
        return run_stage(depth, choice, x)

    monkeypatch.setattr(supernet, "run_stage", counted)
    x = images(space, 4)
    outputs = dict(supernet.forward_each(x, list(space)))
    # Four blocks of the first stage, and after three of them four of the second.
    assert calls == {"stem": 1, "Block": 4 + 3 * 4, "Channels": 9}
    assert all(torch.equal(outputs[i], supernet(x, path)) for i, path in enumerate(space))


def test_ratios_that_round_to_one_bottleneck_are_one_network() -> None:
    torch.manual_seed(0)
    space = NDSResNeXt(
        depths=(1,),
        widths=(4, 8),
        ratios=(0.5, 0.6),
        groups=(1,),
        stem_width=4,
        strides=(1, 2),
        image_size=4,
    )
    classes = Counter(map(space.canonical, space))
    # 4 * 0.6 rounds to 2 channels, as 4 * 0.5 does; 8 * 0.6 to 5.
    assert sorted(classes.values()) == [1, 1, 1, 1, 2, 2, 2, 2, 4]
    assert all(space.class_size(path) == classes[space.canonical(path)] for path in space)
    supernet, x = supernet_of(space), images(space, 4)
    with torch.no_grad():
        logits = {path: supernet(x, path) for path in space}
    for one, other in itertools.combinations(space, 2):
        same = space.functional_key(one) == space.functional_key(other)
        assert torch.equal(logits[one], logits[other]) == same
        assert same == (space.canonical(one) == space.canonical(other))


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (RESNET, "d3-3-5_w16-16-16", "has depth '5' in stage 2: valid are 1, 2, 3, 4, 6, 8, 12, 16, 24"),
        (RESNET, "d3-3-3_w20-16-16", "has width '20' in stage 0: valid are 16, 24,"),
        (RESNET, "d3-3-3", "has 1 parts with '_' between: valid are 2, such as 'd1-1-1_w16-16-16'"),
        (RESNET, "d3-3_w16-16-16", "has 'd3-3' for the depth of its stages: valid is 'd' and 3 values"),
        (RESNET, "d3-3-3_d3-3-3", "has 'd3-3-3' for the width of its stages: valid is 'w' and 3 values"),
        (
            RESNEXT,
            "d1-1-1_w16-16-16_r0.5-0.3-1_g1-1-1",
            "has bottleneck ratio '0.3' in stage 1: valid are 0.25, 0.5, 1",
        ),
        (
            RESNEXT,
            "d1-1-1_w16-16-16_r0.5-1-1_g1-8-1",
            "has number of groups '8' in stage 1: valid are 1, 2, 4",
        ),
    ],
)
def test_wrong_architectures_are_refused(space: NDSResNet | NDSResNeXt, text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        space.decode(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depths", (2, 1), r"depths is \(2, 1\): valid are different positive numbers in ascending order"),
        ("depths", (), r"depths is \(\): valid"),
        ("widths", (0, 4), r"widths is \(0, 4\): valid"),
        ("ratios", (0.5, 0.5), r"ratios is \(0.5, 0.5\): valid"),
        ("groups", (-1,), r"groups is \(-1,\): valid"),
        ("strides", (1, 0), r"strides is \(1, 0\): valid are positive numbers, one per stage"),
        ("stem_width", 0, "stem_width is 0: valid are numbers from 1"),
        ("num_classes", 0, "num_classes is 0: valid are numbers from 1"),
        ("picking", "l2", "picking is 'l2': valid are 'ordinal' and 'l1'"),
        ("image_size", 3, r"image_size is 3: strides \(1, 2, 2\) need at least 4 pixels"),
        (
            "groups",
            (1, 8),
            "groups has 8, but width 16 and ratio 0.25 make a bottleneck of 4 channels: valid are",
        ),
        ("ratios", (0.01,), "ratios has 0.01, which leaves no channel of width 16"),
    ],
)
def test_impossible_spaces_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(NASError, match=message):
        NDSResNeXt(**{field: value})  # type: ignore[arg-type]


def test_sizes_may_come_as_lists() -> None:
    space = NDSResNeXt(ratios=cast(tuple[float, ...], [0.25, 1]), groups=cast(tuple[int, ...], [1, 2]))
    assert space == NDSResNeXt(ratios=(0.25, 1.0), groups=(1, 2))
    assert space.encode(space[space.size - 1]) == "d16-16-16_w256-256-256_r1-1-1_g2-2-2"
