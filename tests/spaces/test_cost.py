import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_nas.spaces.cost import Cost, batch_norm, convolution, linear


@pytest.mark.parametrize(("channels", "kernel", "size"), [((3, 16), 3, 32), ((5, 7), 1, 4), ((1, 2), 5, 9)])
def test_convolution_agrees_with_torch(channels: tuple[int, int], kernel: int, size: int) -> None:
    layer = nn.Conv2d(*channels, kernel, padding=kernel // 2, bias=False)
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, channels[0], size, size))
    expected = Cost(sum(p.numel() for p in layer.parameters()), counter.get_total_flops() // 2)
    assert convolution(*channels, kernel=kernel, size=size) == expected


def test_linear_and_batch_norm_agree_with_torch() -> None:
    layer = nn.Linear(64, 10)
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, 64))
    assert linear(64, 10) == Cost(650, counter.get_total_flops() // 2)
    assert batch_norm(16) == Cost(sum(p.numel() for p in nn.BatchNorm2d(16).parameters()), 0)


def test_costs_add_up() -> None:
    assert Cost(1, 2) + Cost(3, 4) == Cost(4, 6)
