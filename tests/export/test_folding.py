import exports
import pytest
import torch
from space_checks import CONFIGS, images, small_space
from torch import nn

from lightning_nas.export.folding import folded
from lightning_nas.export.statistics import batch_norms

# Batch-norm behind pooled, concatenated or added features stays.
LEFT = {
    "pooling": 0,
    "macro": 0,
    "mobilenet": 0,
    "nds_resnet": 0,
    "nds_resnext": 0,
    "nasbench1shot1": 0,
    "nasbench201": 1,
}


@pytest.mark.parametrize("name", LEFT)
@torch.no_grad()
def test_batch_norm_behind_convolutions_is_folded(name: str) -> None:
    network = exports.exported(space := small_space(CONFIGS / f"{name}_small.yaml")).network
    x, before = images(space, 4), {key: value.clone() for key, value in network.state_dict().items()}
    result = folded(network)
    assert len(batch_norms(result)) == LEFT[name] < len(batch_norms(network))
    torch.testing.assert_close(result(x), network(x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_only_what_follows_directly_is_folded() -> None:
    conv, norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
    network = nn.Sequential(conv, nn.ReLU(), norm, nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).eval()
    kinds = [type(layer) for layer in folded(network).children()]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Conv2d, nn.Identity]
