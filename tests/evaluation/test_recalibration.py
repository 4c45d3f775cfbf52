import math

import pytest
import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.evaluation import Calibration
from lightning_nas.spaces import NASBenchMacro, NormPolicy, ParameterSlice, Path, Supernet

SPACE = NASBenchMacro(channels=(3, 4, 5), layers=(1, 2), head_channels=6, image_size=8)
NORM = NormPolicy(running_stats=True)
PATH, OTHER = (1, 0, 2), (2, 1, 1)


def trained() -> Supernet:
    """A supernet whose running statistics mix those of several paths."""
    torch.manual_seed(0)
    supernet = SPACE.build_supernet(norm=NORM)
    for path in list(SPACE)[::5]:
        supernet(torch.randn(8, 3, 8, 8), path)
    return supernet.eval()


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(8, 3, 8, 8, generator=generator) for _ in range(3)]


@torch.no_grad()
def test_statistics_are_the_means_of_those_of_the_batches() -> None:
    """By the stem's batch-norm, which sees the images through one convolution only."""
    supernet = trained()
    conv, norm = supernet.stem[0]  # type: ignore[index]
    outputs = [conv(x) for x in images()]
    with Calibration(supernet, images()).of(PATH):
        torch.testing.assert_close(
            norm.running_mean, torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
        )
        torch.testing.assert_close(norm.running_var, torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0))


def test_the_average_is_cumulative() -> None:
    """Batch means 1, 2, 4 and variances 1, 4, 1 give 7/3 and 2."""

    class Single(Supernet):
        def __init__(self) -> None:
            super().__init__(SPACE, NORM)
            self.norm_layer = nn.BatchNorm2d(1)

        def forward(self, x: Tensor, path: Path) -> Tensor:
            y: Tensor = self.norm_layer(x)
            return y

        def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
            return []

    def batch(mean: float, variance: float) -> Tensor:
        x = torch.randn(500, 1, 2, 2, dtype=torch.float64)
        return (x - x.mean()) / x.std() * math.sqrt(variance) + mean

    supernet = Single().double().eval()
    with Calibration(supernet, [batch(1, 1), batch(2, 4), batch(4, 1)]).of(PATH):
        buffers = dict(supernet.norm_layer.named_buffers())
        assert float(buffers["running_mean"]) == pytest.approx(7 / 3)
        assert float(buffers["running_var"]) == pytest.approx(2.0)


@torch.no_grad()
def test_scoring_a_path_changes_nothing() -> None:
    supernet = trained()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    modes = [(module.training, getattr(module, "momentum", None)) for module in supernet.modules()]
    calibration, x = Calibration(supernet, images()), torch.randn(4, 3, 8, 8)
    with calibration.of(PATH):
        alone = supernet(x, PATH)
    with pytest.raises(RuntimeError, match="in between"), calibration.of(OTHER):
        raise RuntimeError("in between")
    with calibration.of(PATH):
        assert torch.equal(supernet(x, PATH), alone)
    with Calibration(supernet, images()).of(PATH):
        assert torch.equal(supernet(x, PATH), alone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    assert modes == [(module.training, getattr(module, "momentum", None)) for module in supernet.modules()]


@torch.no_grad()
def test_it_equals_recalibrating_the_extracted_network() -> None:
    supernet = trained()
    network = supernet.extract(PATH)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    network.train()
    for x in images():
        network(x)
    network.eval()
    x = torch.randn(4, 3, 8, 8)
    with Calibration(supernet, images()).of(PATH):
        torch.testing.assert_close(supernet(x, PATH), network(x))


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(NASError, match="needs batch-norm with running statistics"):
        Calibration(SPACE.build_supernet(), images())
    with pytest.raises(NASError, match="at least one batch"):
        Calibration(trained(), [])
