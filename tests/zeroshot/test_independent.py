"""Estimators against slow versions by other means, on convolutions with batch-norm."""

import math

import numpy as np
import pytest
import torch
from estimator_cases import labelled_images, tiny_network
from torch import Tensor, nn
from torch.func import functional_call, jacrev
from torch.nn import functional as F

from lightning_nas.zeroshot import (
    Fisher,
    Grasp,
    JacobCov,
    ReLU,
    ReLULogDet,
    Snip,
    SynFlow,
    tangent_kernel,
)

NETWORK = tiny_network()
X, Y = labelled_images()
SCORED = ["0.weight", "3.weight", "7.weight"]


def weights() -> dict[str, Tensor]:
    return {name: NETWORK.get_parameter(name).detach() for name in SCORED}


def test_snip_is_the_gradient_in_a_mask_of_ones() -> None:
    def loss(*masks: Tensor) -> Tensor:
        masked = {name: weight * mask for (name, weight), mask in zip(weights().items(), masks, strict=True)}
        return F.cross_entropy(functional_call(NETWORK, masked, (X,)), Y)

    ones = tuple(torch.ones_like(weight) for weight in weights().values())
    found = torch.autograd.functional.jacobian(loss, ones)
    expected = sum(float(gradient.abs().sum()) for gradient in found)
    assert Snip()(NETWORK, X, Y) == pytest.approx(expected, rel=1e-9)


def test_grasp_agrees_with_the_whole_hessian() -> None:
    shapes = {name: weight.shape for name, weight in weights().items()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        named = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return F.cross_entropy(functional_call(NETWORK, named, (X,)), Y)

    flat = torch.cat([weight.flatten() for weight in weights().values()])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat)
    expected = float(-(hessian @ gradient) @ flat)
    assert Grasp()(NETWORK, X, Y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("broadcast", [False, True])
def test_fisher_agrees_with_hooks(broadcast: bool) -> None:
    outputs: list[Tensor] = []
    layers = [m for m in NETWORK.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    def keep(_module: nn.Module, _given: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    F.cross_entropy(NETWORK(X), Y).backward()
    for handle in handles:
        handle.remove()
    NETWORK.zero_grad()
    expected = 0.0
    for layer, output in zip(layers, outputs, strict=True):
        assert output.grad is not None
        for channel in range(output.shape[1]):
            products = (output * output.grad).detach()[:, channel].flatten(1 if output.ndim == 4 else 0)
            of_images = [float(product.sum()) for product in products]
            share = sum(value**2 for value in of_images) / len(of_images) / 2
            expected += share * (layer.weight[0].numel() if broadcast else 1)
    assert Fisher(broadcast)(NETWORK, X, Y) == pytest.approx(expected, rel=1e-9)


def test_the_tangent_kernel_agrees_with_functional_derivatives() -> None:
    network = tiny_network()
    norm = network.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    # Functional derivatives allow no running statistics.
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    rows = jacrev(lambda named: functional_call(network, named, (X,)).sum(1))(weights())
    flat = torch.cat([row.flatten(1) for row in rows.values()], dim=1)
    torch.testing.assert_close(tangent_kernel(NETWORK, X), flat @ flat.T)


@pytest.mark.parametrize("matrix", ["correlation", "covariance"])
def test_jacob_cov_agrees_with_numpy(matrix: str) -> None:
    def answer(images: Tensor) -> Tensor:
        return NETWORK(images).sum()  # type: ignore[no-any-return]

    rows = torch.autograd.functional.jacobian(answer, X).flatten(1).numpy()
    table = np.corrcoef(rows) if matrix == "correlation" else np.cov(rows)
    values = np.linalg.eigvalsh(table) + 1e-5
    expected = -float(np.sum(np.log(values) + 1 / values))
    assert JacobCov(matrix)(NETWORK, X, Y) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]


def test_relu_logdet_agrees_with_loops() -> None:
    first = NETWORK[1](NETWORK[0](X))  # type: ignore[index]
    codes = [first > 0, NETWORK[3](first.relu()) > 0]  # type: ignore[index]
    table = [
        [sum(int((code[i] == code[j]).sum()) for code in codes) for j in range(len(X))] for i in range(len(X))
    ]
    expected = math.log(abs(np.linalg.det(np.array(table, dtype=float))))
    assert ReLULogDet()(NETWORK, X, Y) == pytest.approx(expected, rel=1e-9)


class CallsOnce(nn.Module):
    """Rectifies in every way, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.modules_too = nn.Sequential(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(F.relu(torch.relu(x + 1))).relu()
        return self.modules_too(x + 1).relu_()  # type: ignore[no-any-return]


def test_every_way_to_rectify_counts_once() -> None:
    assert ReLU()(CallsOnce(), X, Y) == 9


def test_synflow_is_conserved_from_layer_to_layer() -> None:
    network = nn.Sequential(
        *[nn.Conv2d(1, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 2, bias=False), nn.ReLU()],
        *[nn.Flatten(), nn.Linear(8, 4, bias=False)],
    ).double()
    positive = nn.Sequential(*network).requires_grad_(False)
    expected = {name: weight.abs() for name, weight in positive.named_parameters()}
    answer = functional_call(positive, expected, (torch.ones_like(X[:1]),)).sum()
    assert SynFlow()(network, X, Y) == pytest.approx(3 * float(answer), rel=1e-12)


def test_synflow_with_batch_norm_is_that_of_a_single_image() -> None:
    images = torch.ones_like(X[:1])
    named = {name: weight.detach().abs().requires_grad_() for name, weight in NETWORK.named_parameters()}
    answer = functional_call(tiny_network(), named, (images,)).sum()
    flows = torch.autograd.grad(answer, [named[name] for name in SCORED])
    expected = sum(
        float((flow * named[name]).detach().abs().sum()) for name, flow in zip(SCORED, flows, strict=True)
    )
    assert SynFlow(batch_norm=True)(NETWORK, X, Y) == pytest.approx(expected, rel=1e-6, abs=1e-9)
