import pytest
import torch
from torch import nn

from lightning_nas.spaces.operations import SHARED, STANDALONE, BasicBlock, Bottleneck, NormPolicy


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("running_stats", [True, False])
def test_norm_policy(affine: bool, running_stats: bool) -> None:
    layer = NormPolicy(affine, running_stats).layer(4)
    assert (layer.weight is not None) == affine
    assert (layer.running_mean is not None) == running_stats


def test_a_shared_norm_uses_the_batch_in_evaluation() -> None:
    x = 5 + 3 * torch.randn(64, 4, 2, 2)
    y = SHARED.layer(4).eval()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("before", "after", "shortcut"), [(4, 4, 0), (4, 6, 4 * 6 + 2 * 6)])
def test_block_is_that_of_the_paper(before: int, after: int, shortcut: int) -> None:
    block = BasicBlock(before, after, STANDALONE).eval()
    convolutions = 9 * before * after + 9 * after * after + 4 * after
    assert sum(p.numel() for p in block.parameters()) == convolutions + shortcut
    x = torch.randn(2, before, 5, 5)
    first, norm1 = block.first
    second, norm2 = block.second
    identity = x if before == after else block.shortcut(x)
    expected = nn.functional.relu(norm2(second(nn.functional.relu(norm1(first(x))))) + identity)
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("before", "after"), [(8, 8), (4, 8)])
def test_bottleneck_is_that_of_the_paper(before: int, after: int, stride: int) -> None:
    block = Bottleneck(before, after, STANDALONE).eval()
    x = torch.randn(2, before, 6, 6)
    (reduce, norm1), (filtering, norm2), (expand, norm3) = block.reduce, block.filter, block.expand
    y = norm1(reduce(x)).relu()
    y = norm2(nn.functional.conv2d(y, filtering.get_parameter("weight"), stride=stride, padding=1)).relu()
    y = norm3(expand(y))
    shortcut = x[:, :, ::stride, ::stride]
    if isinstance(block.shortcut, nn.Sequential):
        projection, norm = block.shortcut
        shortcut = norm(nn.functional.conv2d(x, projection.get_parameter("weight"), stride=stride))
    assert torch.equal(block(x, stride), (y + shortcut).relu())


def test_blocks_draw_their_weights_in_a_fixed_order() -> None:
    """Modules are initialised in this order; another would change the results of every seed."""
    names = [name.split(".")[0] for name, _ in BasicBlock(2, 4, SHARED).named_parameters()]
    assert names == ["first", "second", "shortcut"]
