import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from space_checks import images, measured_cost
from torch import Tensor
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import AutoFormer, Path, RestrictedSpace
from lightning_nas.spaces.autoformer_networks import TransformerLayer

PUBLISHED = AutoFormer()
AZ_NAS_TINY = "embed192_depth12_heads4-3-4-4-4-4-4-3-3-4-4-4_ratio3.5-3.5-3.5-4-3.5-3.5-3.5-3.5-3.5-3.5-4-4"
TINY = AutoFormer(
    embed_dims=(6, 8),
    depths=(1, 3),
    heads=(1, 2),
    mlp_ratios=(1.5, 2),
    head_dim=4,
    patch_size=2,
    max_distance=2,
    num_classes=5,
    in_channels=1,
    image_size=8,
)


def uniform(embed: int, depth: int, heads: int, ratio: float) -> Path:
    """The path whose layers are all alike."""
    return PUBLISHED.decode(
        f"embed{embed}_depth{depth}_heads{'-'.join([str(heads)] * depth)}_ratio{'-'.join([str(ratio)] * depth)}"
    )


def test_published_size() -> None:
    assert PUBLISHED.size == 3 * (4**12 + 4**13 + 4**14) == 1_056_964_608
    assert len(PUBLISHED.num_choices) == 2 + 2 * 14


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (uniform(192, 12, 3, 3.5), 5_366_056),
        (uniform(192, 12, 3, 4), 5_809_576),
        (uniform(240, 14, 4, 4), 10_517_272),
        (PUBLISHED.decode(AZ_NAS_TINY), 5_921_032),
    ],
)
def test_published_parameters(path: Path, params: int) -> None:
    assert PUBLISHED.cost(path).params == params


def test_published_supernet_parameters() -> None:
    """The released one has 256 channels, which no path uses."""
    released = AutoFormer(embed_dims=(256,), depths=(14,), heads=(4,), mlp_ratios=(4,))
    supernets = [released.build_supernet(), PUBLISHED.build_supernet()]
    assert [sum(p.numel() for p in net.parameters()) for net in supernets] == [11_669_224, 10_517_272]


def test_cost_is_that_of_the_published_network() -> None:
    path = PUBLISHED.decode(AZ_NAS_TINY)
    assert PUBLISHED.cost(path) == measured_cost(PUBLISHED.build_standalone(path), images(PUBLISHED))


def test_paths_are_the_combinations_without_choices_beyond_the_depth() -> None:
    combinations = itertools.product(*map(range, TINY.num_choices))
    paths = [path for path in combinations if path[1] == 1 or not any(path[4:])]
    assert list(TINY) == paths
    assert len(paths) == TINY.size == 2 * (4 + 4**3)
    assert [TINY.index(path) for path in paths] == list(range(len(paths)))
    for prefix in ((), (1,), (0, 0), (0, 1, 1), (1, 0, 1, 1, 0), (1, 0, 1, 1, 1), (2,), (0,) * 9):
        assert TINY.count(prefix) == sum(path[: len(prefix)] == prefix for path in paths if len(prefix) < 9)


def test_restrictions_do_not_bind_layers_beyond_the_depth() -> None:
    allowed = ((0, 1), (0, 1), (0, 1), (1,), (1,), (0, 1), (1,), (1,))
    part = RestrictedSpace(TINY, allowed)
    expected = [
        path
        for path in TINY
        if all(path[d] in allowed[d] for d in range(2 + 2 * TINY.depths[path[1]]))  # of living layers
    ]
    assert list(part) == expected
    assert part.size == len(expected) == 2 * (2 + 2 * 2)
    assert (0, 0, 0, 1, 0, 0, 0, 0) in expected
    # The layers that a greater depth brings to life take their first allowed choice.
    assert (0, 1, 0, 1, 1, 0, 1, 1) in list(part.neighbours((0, 0, 0, 1, 0, 0, 0, 0)))


def test_layers_beyond_the_depth_are_repaired() -> None:
    assert TINY._repair((1, 0, 1, 0, 1, 1, 1, 1)) == (1, 0, 1, 0, 0, 0, 0, 0)
    assert TINY._repair((1, 1, 1, 0, 1, 1, 1, 1)) == (1, 1, 1, 0, 1, 1, 1, 1)


def test_samples_are_uniform() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(TINY.index(TINY.sample(rng)) for _ in range(30 * TINY.size))
    # Chi-square with 135 degrees of freedom stays below 193 in 999 of 1000 draws.
    assert sum((counts[i] - 30) ** 2 / 30 for i in range(TINY.size)) < 193


def test_text_names_the_sizes() -> None:
    path = (1, 0, 1, 0, 0, 0, 0, 0)
    assert TINY.encode(path) == "embed8_depth1_heads2_ratio1.5"
    assert TINY.encode((0, 1, 0, 1, 1, 0, 1, 1)) == "embed6_depth3_heads1-2-2_ratio2-1.5-2"
    assert PUBLISHED.encode(PUBLISHED.decode(AZ_NAS_TINY)) == AZ_NAS_TINY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8-1-2-1.5", "is not of the form 'embed6_depth1_heads1_ratio1.5'"),
        ("embed7_depth1_heads2_ratio1.5", "has embed '7': valid are 6, 8"),
        ("embed8_depth2_heads2-2_ratio2-2", "has depth '2': valid are 1, 3"),
        ("embed8_depth3_heads2-1_ratio2-2-2", "has heads of 2 layers: valid are 3, its depth"),
        ("embed8_depth3_heads2-1-1_ratio2-2-2-2", "has ratio of 4 layers: valid are 3, its depth"),
        ("embed8_depth3_heads2-1-3_ratio2-2-2", "has heads at layer 2 '3': valid are 1, 2"),
        ("embed8_depth3_heads2-1-1_ratio2-1-2", "has ratio at layer 1 '1': valid are 1.5, 2"),
    ],
)
def test_wrong_architectures_are_refused(text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        TINY.decode(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 225}, "image_size is 225: valid are multiples of the patch size 16"),
        ({"image_size": 0}, "image_size is 0: valid are multiples"),
        ({"patch_size": 0}, "patch_size is 0: valid are numbers from 1"),
        ({"depths": (12, 12)}, r"depths is \(12, 12\): valid are positive numbers in ascending order"),
        ({"heads": ()}, r"heads is \(\): valid are positive numbers in ascending order"),
        ({"embed_dims": (0, 192)}, r"embed_dims is \(0, 192\): valid are positive"),
        ({"mlp_ratios": (3.5, 3.501)}, r"\[672, 672\] hidden units for 192 channels: valid are ratios"),
        ({"mlp_ratios": (0.001, 4)}, r"\[0, 768\] hidden units for 192 channels: valid are ratios"),
    ],
)
def test_impossible_spaces_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        AutoFormer(**change)


def test_paths_use_the_first_entries_of_shared_tensors() -> None:
    """The rules of the released code, entry by entry, for the first layer of 6 channels and one head of 4."""
    torch.manual_seed(0)
    supernet: Any = TINY.build_supernet()
    for parameter in supernet.parameters():
        torch.nn.init.normal_(parameter)
    network: Any = supernet.extract((0, 0, 0, 1, 0, 0, 0, 0))
    (mine,), yours = network.layers, supernet.layers[0]
    for kind in range(3):  # queries, keys, values
        for row in range(4):
            assert torch.equal(mine.qkv.weight[4 * kind + row], yours.qkv.weight[3 * row + kind, :6])
    # The bias does not alternate, so what is a key's here is a query's where there are two heads.
    assert torch.equal(mine.qkv.bias, yours.qkv.bias[:12])
    assert torch.equal(mine.project.weight, yours.project.weight[:6, :4])
    assert torch.equal(mine.expand.weight, yours.expand.weight[:12, :6])
    assert torch.equal(mine.contract.weight, yours.contract.weight[:6, :12])
    assert torch.equal(mine.mlp_norm.bias, yours.mlp_norm.bias[:6])
    assert torch.equal(mine.key_tables, yours.key_tables)
    assert torch.equal(network.patches.projection.weight, supernet.patches.projection.weight[:6])
    assert torch.equal(network.patches.positions, supernet.patches.positions[..., :6])
    assert torch.equal(network.head.classifier.weight, supernet.head.classifier.weight[:, :6])


def slow_attention(layer: TransformerLayer, x: Tensor, grid: int, max_distance: int) -> Tensor:
    """The attention of one image (T x embed), query by query and key by key."""
    tokens, dim = len(x), layer.qkv.out_features // 3 // layer.heads
    q, k, v = layer.qkv(x).reshape(tokens, 3, layer.heads, dim).permute(1, 2, 0, 3)

    def position(tables: Tensor, query: int, key: int) -> Tensor:
        if query == 0 or key == 0:
            return tables[0, 0] + tables[1, 0]
        steps = [b - a for a, b in zip(divmod(query - 1, grid), divmod(key - 1, grid), strict=True)]
        vertical, horizontal = (min(max(s, -max_distance), max_distance) + max_distance + 1 for s in steps)
        return tables[0, vertical] + tables[1, horizontal]

    result = torch.zeros(tokens, layer.heads, dim)
    for head, query in itertools.product(range(layer.heads), range(tokens)):
        scores = [
            q[head, query] @ (k[head, key] + position(layer.key_tables, query, key)) / dim**0.5
            for key in range(tokens)
        ]
        for key, weight in enumerate(torch.stack(scores).softmax(0)):
            result[query, head] += weight * (v[head, key] + position(layer.value_tables, query, key))
    return F.linear(result.flatten(1), layer.project.weight, layer.project.bias)


def test_layers_are_those_of_the_released_code() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(TINY, embed=6, heads=2, hidden=9)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 17, 6)
    with torch.no_grad():
        normed = F.layer_norm(x, (6,), layer.attention_norm.weight, layer.attention_norm.bias)
        attended = x + torch.stack([slow_attention(layer, one, grid=4, max_distance=2) for one in normed])
        normed = F.layer_norm(attended, (6,), layer.mlp_norm.weight, layer.mlp_norm.bias)
        expected = attended + layer.contract(F.gelu(layer.expand(normed)))
        torch.testing.assert_close(layer(x), expected)


def test_tokens_are_patches_and_the_class_and_patches_are_classified() -> None:
    network: Any = TINY.build_standalone(TINY[0])
    x = torch.randn(3, 1, 8, 8)
    tokens, projection = network.patches(x), network.patches.projection
    assert tokens.shape == (3, 1 + 4 * 4, 6)
    corner = (projection.weight * x[1, :, 2:4, 6:8]).sum((1, 2, 3)) + projection.bias
    torch.testing.assert_close(tokens[1, 1 + 1 * 4 + 3], corner + network.patches.positions[0, 1 + 1 * 4 + 3])
    torch.testing.assert_close(
        tokens[:, 0], (network.patches.class_token + network.patches.positions[:, :1])[:, 0].expand(3, 6)
    )
    changed = tokens.clone()
    changed[:, 0] += 1
    assert torch.equal(network.head(changed), network.head(tokens))


def test_initial_weights_are_those_of_the_released_code() -> None:
    supernet = PUBLISHED.build_supernet()
    for name, parameter in supernet.named_parameters():
        if name == "patches.projection.weight" or name == "patches.projection.bias":
            bound = (3 * 16 * 16) ** -0.5  # PyTorch's own for convolutions
            assert 0.9 * bound < parameter.abs().max() <= bound
        elif "norm.weight" in name:
            assert (parameter == 1).all()
        elif "bias" in name:
            assert not parameter.any()
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name


def test_larger_choices_hold_what_smaller_ones_do() -> None:
    supernet = TINY.build_supernet()
    names = {parameter: name for name, parameter in supernet.named_parameters()}
    for decision, number in enumerate(TINY.num_choices):
        held = [
            {names[part.parameter]: part.parameter[part.index].numel() for part in parts}
            for parts in (supernet.choice_parameters(decision, choice) for choice in range(number))
        ]
        for smaller, larger in itertools.pairwise(held):
            assert smaller
            assert sum(smaller.values()) < sum(larger.values())
            assert all(numel <= larger[name] for name, numel in smaller.items())
    assert {
        names[part.parameter]: tuple(part.parameter[part.index].shape)
        for part in supernet.choice_parameters(4, 0)
    } == {
        "layers.1.qkv.weight": (12, 8),
        "layers.1.qkv.bias": (12,),
        "layers.1.project.weight": (8, 4),
    }


def test_weights_beyond_the_slices_get_no_gradient() -> None:
    supernet: Any = TINY.build_supernet()
    with torch.inference_mode():
        supernet(images(TINY), (0, 0, 0, 0, 0, 0, 0, 0))  # what is kept from here must not hinder training
    supernet(images(TINY), (0, 0, 0, 0, 0, 0, 0, 0)).square().sum().backward()
    used = supernet.layers[0].qkv.weight.grad != 0
    assert used[:12, :6].all()
    assert not used[12:].any()
    assert not used[:, 6:].any()
    assert supernet.layers[1].qkv.weight.grad is None


def test_paths_of_one_width_share_their_first_layers() -> None:
    supernet: Any = TINY.build_supernet()
    run, depths = supernet.run_stage, []

    def counting(depth: int, choice: Any, x: Tensor) -> Any:
        depths.append(depth)
        return run(depth, choice, x)

    supernet.run_stage = counting
    outputs = dict(supernet.forward_each(images(TINY), list(TINY)))
    assert len(outputs) == TINY.size
    # Per width: the patches, four first layers, behind each of them a head or four more, and so on.
    assert Counter(depths) == {0: 2, 1: 8, 2: 8 + 32, 3: 128, 4: 128}


def test_outline_names_heads_and_ratio() -> None:
    outline = PUBLISHED.outline(PUBLISHED.decode(AZ_NAS_TINY))
    assert outline.titles == ("192 channels, 14 x 14 patches",)
    (row,) = outline.rows
    assert (len(row), row[0], row[3]) == (12, "4 heads\nratio 3.5", "4 heads\nratio 4")
