import exports
import pytest
import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.export.running import difference, example, require_packages

SPACE = exports.SPACE


def test_examples_are_always_the_same() -> None:
    assert torch.equal(example(SPACE), example(SPACE))
    assert example(SPACE).shape[1:] == (1, 8, 8)
    assert 0.8 < example(SPACE).std() < 1.2


@pytest.mark.parametrize(
    ("error", "refused"), [(0, False), (9e-5, False), (2e-4, True), (float("nan"), True)]
)
def test_other_logits_are_refused(error: float, refused: bool) -> None:
    def network(x: Tensor) -> Tensor:
        return x.flatten(1).tanh()

    def run(x: Tensor) -> Tensor:
        return network(x) + error

    if refused:
        with pytest.raises(NASError, match=r"differs from the one in PyTorch by .*: nothing was written"):
            difference(run, network, SPACE)  # type: ignore[arg-type]
    else:
        assert difference(run, network, SPACE) == pytest.approx(error, rel=1e-2)  # type: ignore[arg-type]


def test_a_diverged_network_is_told_as_such() -> None:
    linear = nn.Linear(64, 2)
    nn.init.constant_(linear.weight, float("inf"))
    network = nn.Sequential(nn.Flatten(), linear)
    with pytest.raises(NASError, match="logits of the network are not finite"):
        difference(network, network, SPACE)


def test_large_logits_are_compared_relative_to_the_largest() -> None:
    def network(x: Tensor) -> Tensor:
        return 1000 * x.flatten(1).sign()

    assert difference(lambda x: network(x) + 0.05, network, SPACE) == pytest.approx(5e-5, rel=1e-2)  # type: ignore[arg-type]
    with pytest.raises(NASError, match="differs"):
        difference(lambda x: network(x) + 0.2, network, SPACE)  # type: ignore[arg-type]


def test_what_depends_on_the_batch_is_refused() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()).eval()
    with pytest.raises(NASError, match="differs"):
        difference(network, network, SPACE)


def test_a_missing_package_is_named() -> None:
    require_packages("--to onnx", ("onnx",))
    with pytest.raises(
        NASError,
        match=r"--to onnx needs the package no_such_package, .*: pip install 'lightning-nas\[export\]'",
    ):
        require_packages("--to onnx", ("onnx", "no_such_package"))
