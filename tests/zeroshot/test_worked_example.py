"""Every estimator on a network of two layers, whose values were computed by hand and by independent code."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_nas.zeroshot import (
    NTK,
    Estimator,
    Fisher,
    GradNorm,
    Grasp,
    JacobCov,
    LinearRegions,
    Plain,
    ReLU,
    ReLULogDet,
    Snip,
    SynFlow,
    condition_number,
    tangent_kernel,
)
from lightning_nas.zeroshot.rectifiers import activation_codes

IMAGES = torch.tensor([[1, 2], [-1, 1], [2, -1], [0.5, 0.25]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 0])


def network() -> nn.Module:
    """W2 relu(W1 x), without biases."""
    first, second = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1, -1], [0.5, 2], [-1, 0.5]]))
        second.weight.copy_(torch.tensor([[1, -0.5, 2], [-1, 1, 0.5]]))
    return nn.Sequential(first, nn.ReLU(), second).double()


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (GradNorm(), 3.219513640819709),
        (GradNorm("global"), 2.2958187919611173),
        (Plain(), 6.567183428593676),
        (Snip(), 6.754683428593676),
        (Grasp(), -5.486339380240219),
        (Fisher(), 1.0176626910982691),
        (Fisher(broadcast=True), 2.3932032625234845),
        (SynFlow(), 23.0),
        (ReLU(), 1.0),
        (ReLULogDet(), math.log(12)),
        (LinearRegions(), 4.0),
    ],
    ids=lambda value: value.name if isinstance(value, Estimator) else "",
)
def test_value(estimator: Estimator, value: float) -> None:
    assert estimator(network(), IMAGES, LABELS) == pytest.approx(value, rel=1e-12)


def test_gradients_in_an_image_that_are_constant_give_no_correlation() -> None:
    assert math.isnan(JacobCov()(network(), IMAGES, LABELS))


def test_correlation_of_given_gradients() -> None:
    rows = torch.tensor([[1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1.5]])
    assert JacobCov().of_jacobian(rows) == pytest.approx(-110.600176, abs=1e-6)


def test_correlation_has_its_maximum_where_images_have_nothing_in_common() -> None:
    # Rows of mean 0, orthogonal to each other.
    rows = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1], [1, 1, -1, -1]])
    assert JacobCov().of_jacobian(rows) == pytest.approx(-3.00000000015, abs=1e-10)


@pytest.mark.parametrize(
    ("samples", "eigenvalues", "condition"),
    [
        ([0, 1, 2, 3], [0.0276833586, 15.0436929, 18.1249403, 49.8818083], 1801.8698),
        ([0, 1, 3], [0.149339313, 15.0485119, 49.8802738], 334.00632),
    ],
)
def test_tangent_kernel(samples: list[int], eigenvalues: list[float], condition: float) -> None:
    kernel = tangent_kernel(network(), IMAGES[samples])
    torch.testing.assert_close(
        torch.linalg.eigvalsh(kernel), torch.tensor(eigenvalues).double(), rtol=1e-6, atol=1e-9
    )
    assert condition_number(kernel) == pytest.approx(condition, rel=1e-6)
    assert NTK()(network(), IMAGES[samples], LABELS[samples]) == pytest.approx(-condition, rel=1e-6)


def test_the_kernel_is_that_of_the_first_images() -> None:
    expected = NTK()(network(), IMAGES[:2], LABELS[:2])
    assert NTK(images=2)(network(), IMAGES, LABELS) == expected


def test_a_kernel_without_inverse_has_no_condition_however_it_is_rounded() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows = torch.randn(20, 50, generator=generator, dtype=torch.float64)
        rows[1] = rows[0] + rows[2]
        assert condition_number(rows @ rows.T) == math.inf


def test_rounding_takes_no_logarithm_below_0() -> None:
    rows = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    assert math.isfinite(JacobCov(k=1e-18).of_jacobian(rows))


def codes(text: str) -> Tensor:
    return torch.tensor([[digit == "1" for digit in row] for row in text.split()])


def test_codes_of_rectifiers() -> None:
    assert activation_codes(network(), IMAGES).equal(codes("010 011 100 110"))


def test_images_that_set_all_rectifiers_alike_have_no_volume() -> None:
    assert ReLULogDet.of_codes(codes("010 010 110")) == -math.inf
    random = torch.rand(64, 5000, generator=torch.Generator().manual_seed(0)) > 0.5
    assert math.isfinite(ReLULogDet.of_codes(random))
    for twin in range(1, 64):
        alike = random.clone()
        alike[0] = alike[twin]
        assert ReLULogDet.of_codes(alike) == -math.inf
