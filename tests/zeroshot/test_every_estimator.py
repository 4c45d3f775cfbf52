"""What holds for all estimators: they leave no trace, and work in every space or say why not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from estimator_cases import ESTIMATORS, NAMES, RECTIFIED, PathOf, labelled_images, tiny_network
from space_checks import CONFIGS, images, small_space, some_paths
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.zeroshot import NTK, Estimator, JacobCov

SPACES = {file.stem.removesuffix("_small"): file for file in sorted(CONFIGS.glob("*_small.yaml"))}


@pytest.fixture(params=ESTIMATORS, ids=NAMES)
def estimator(request: pytest.FixtureRequest) -> Estimator:
    found = request.param
    assert isinstance(found, Estimator)
    return found


class Failing(nn.Module):
    """Answers with an error, once its layers have run and random numbers were drawn."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        self.network(x)
        torch.rand(3)
        raise RuntimeError("broken")


def prepared(network: nn.Module) -> nn.Module:
    """Some modules in evaluation mode, gradients in some weights, and one that needs none."""
    x, y = labelled_images()
    network(x)  # moves running statistics
    nn.functional.cross_entropy(network(x), y).backward()
    first, *others = [
        module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    first.weight.grad = None
    others[0].eval()
    others[-1].weight.requires_grad_(False)
    return network


def everything(network: nn.Module) -> dict[str, Any]:
    """All that an estimator must leave as it was."""
    state: dict[str, Any] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, weight in network.named_parameters():
        gradient = weight.grad
        state[f"gradient of {name}"] = (gradient, None if gradient is None else gradient.clone())
        state[f"{name} is learned"] = weight.requires_grad
    state |= {f"mode of {name}": module.training for name, module in network.named_modules()}
    state["torch"] = torch.random.get_rng_state()
    state["numpy"] = np.random.get_state()[1].tobytes()  # type: ignore[index] # noqa: NPY002
    state["gradients wanted"] = torch.is_grad_enabled()
    return state


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        other = after[name]
        if isinstance(value, tuple):
            assert value[0] is other[0], name
            value, other = value[1], other[1]
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


def test_it_leaves_no_trace(estimator: Estimator) -> None:
    given = labelled_images()
    network = prepared(nn.Sequential(tiny_network(), nn.Dropout(0.5)))
    before = everything(network)
    with torch.no_grad():
        before["gradients wanted"] = False
        estimator(network, *given)
        assert_same(before, everything(network))


def test_it_leaves_no_trace_when_it_fails(estimator: Estimator) -> None:
    given, failing = labelled_images(), Failing(prepared(tiny_network()))
    before = everything(failing)
    with pytest.raises(RuntimeError, match="broken"):
        estimator(failing, *given)
    assert_same(before, everything(failing))


@dataclass(frozen=True)
class Propagating(Estimator):
    """The first gradient, as one's own estimator may look at it."""

    title: ClassVar[str] = "propagating"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        nn.functional.cross_entropy(network(images), labels).backward()
        gradient = next(network.parameters()).grad
        assert gradient is not None
        return float(gradient.abs().sum())


def test_gradients_that_were_there_are_neither_counted_nor_changed() -> None:
    given, network = labelled_images(), tiny_network()
    fresh = Propagating()(network, *given)
    assert all(weight.grad is None for weight in network.parameters())
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    before = everything(network)
    assert Propagating()(network, *given) == fresh
    assert_same(before, everything(network))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(NTK, images=1), "NTK.images is 1: valid are numbers from 2"),
        (partial(JacobCov, k=0.0), "JacobCov.k is 0.0: valid are numbers above 0"),
        (partial(JacobCov, k=math.nan), "JacobCov.k is nan"),
    ],
)
def test_options_out_of_range_are_refused(build: Callable[[], Estimator], message: str) -> None:
    with pytest.raises(NASError, match=message):
        build()


def test_it_is_repeated_exactly(estimator: Estimator) -> None:
    network, given = tiny_network(), labelled_images()
    assert estimator(network, *given) == estimator(network, *given)


@pytest.mark.parametrize("name", SPACES)
def test_it_is_finite_in_every_space(name: str, estimator: Estimator) -> None:
    space = small_space(SPACES[name])
    torch.manual_seed(0)
    supernet, x, y = space.build_supernet(), images(space, 8), torch.arange(8)
    path = some_paths(space, 3)[-1]
    network, inside = supernet.extract(path), PathOf(supernet, path)
    # Vision transformers rectify by GELU.
    if name == "autoformer" and estimator in RECTIFIED:
        for found in (network, inside):
            with pytest.raises(NASError, match=r"has no ReLU, on which this estimator rests$"):
                estimator(found, x, y)
        return
    score = estimator(network, x, y)
    assert math.isfinite(score)
    # Sums over more weights, of which those of other paths add nothing, round otherwise.
    assert estimator(inside, x, y) == pytest.approx(score, rel=1e-4, abs=1e-7)


def test_too_few_images_are_refused(estimator: Estimator) -> None:
    x, y = labelled_images(estimator.min_images - 1)
    expected = f"is given {len(x)} images, but needs at least {estimator.min_images}"
    with pytest.raises(NASError, match=expected):
        estimator(tiny_network(), x, y)


@pytest.mark.parametrize(
    "weighing",
    [e for e in ESTIMATORS if e.title in {"grad_norm", "plain", "snip", "grasp", "fisher", "synflow", "ntk"}],
    ids=lambda e: e.name,
)
def test_a_network_without_weights_is_refused(weighing: Estimator) -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Flatten()).double()
    with pytest.raises(NASError, match="has neither convolutions nor linear layers"):
        weighing(network, *labelled_images())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees(estimator: Estimator) -> None:
    network, (x, y) = tiny_network(), labelled_images()
    expected = estimator(network, x, y)
    assert estimator(network.cuda(), x.cuda(), y.cuda()) == pytest.approx(expected, rel=1e-6, nan_ok=True)
