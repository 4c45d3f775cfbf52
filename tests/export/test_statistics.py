import exports
import pytest
import torch
from space_checks import some_paths
from torch import nn

from lightning_nas.evaluation import Calibration
from lightning_nas.export import needs_images, with_statistics
from lightning_nas.export.statistics import batch_norms, equal_batches
from lightning_nas.spaces import DARTS, AutoFormer, NormPolicy

SPACE = exports.SPACE
PATH = SPACE.decode(exports.ARCH)


@torch.no_grad()
def test_statistics_are_those_of_the_path() -> None:
    """As a supernet with running statistics is calibrated for scoring."""
    torch.manual_seed(0)
    norm = NormPolicy(affine=True, running_stats=True)
    supernet = exports.varied(SPACE.build_supernet(norm=norm)).eval()
    batches = [torch.randn(8, 1, 8, 8) for _ in range(3)]
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    network = with_statistics(SPACE, PATH, supernet.extract(PATH), batches)  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    x = torch.randn(4, 1, 8, 8)
    with Calibration(supernet, batches).of(PATH):  # type: ignore[arg-type]
        torch.testing.assert_close(network(x), supernet(x, PATH))


@torch.no_grad()
def test_a_supernet_without_statistics_is_what_it_computes_on_a_batch() -> None:
    """The variance alone differs: running ones divide by one less than the numbers of a channel."""
    torch.manual_seed(0)
    supernet = SPACE.build_supernet().eval()
    x = torch.randn(4096, 1, 8, 8)
    network = with_statistics(SPACE, PATH, supernet.extract(PATH), [x])
    torch.testing.assert_close(network(x), supernet(x, PATH), rtol=1e-3, atol=1e-3)
    assert not network.training
    assert not needs_images(network)
    assert needs_images(supernet.extract(PATH))
    for layer in batch_norms(network):
        assert torch.equal(layer.weight, torch.ones_like(layer.weight))
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_pooling_of_darts_keeps_a_norm_without_scale() -> None:
    space = DARTS(channels=4, cells=3, in_channels=1, image_size=8)
    pooled = space.decode(str(space.encode(space[0])))
    network = with_statistics(
        space, pooled, space.build_supernet().extract(pooled), [torch.randn(8, 1, 8, 8)]
    )
    assert any(layer.weight is None for layer in batch_norms(network))
    assert not needs_images(network)


def test_without_batch_norm_no_images_are_needed() -> None:
    space = AutoFormer((16, 24), (1, 2), (1, 2), (1.5, 2), head_dim=8, patch_size=4, image_size=8)
    [path] = some_paths(space, 1)
    trained = space.build_supernet().eval().extract(path)
    assert not needs_images(trained)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(with_statistics(space, path, trained, [])(x), trained(x))


@pytest.mark.parametrize(
    ("images", "size", "expected"), [(300, 50, [50] * 6), (101, 50, [34, 34, 33]), (7, 50, [7])]
)
def test_batches_weigh_alike(images: int, size: int, expected: list[int]) -> None:
    batches = equal_batches(torch.arange(images), size)
    assert [len(batch) for batch in batches] == expected
    assert torch.equal(torch.cat(batches), torch.arange(images))


def test_a_network_of_no_batch_norm_has_none() -> None:
    assert batch_norms(nn.Linear(1, 1)) == []
