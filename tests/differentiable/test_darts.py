"""The second order: a worked example, and what automatic differentiation makes of the unrolled step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import short_runs
import torch
from torch import Tensor, nn
from toy_cells import ToyCells

from lightning_nas.differentiable import DARTS, AlphaOptimizer, DifferentiableModule
from lightning_nas.differentiable.darts import MomentumStep, Weights, unrolled_gradients
from lightning_nas.errors import NASError


class Number(nn.Module):
    """One weight."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))


@pytest.mark.parametrize(
    ("momentum", "buffer", "decay", "moved", "total"),
    [(0.0, None, 0.0, -1.8, -3.7), (0.9, 1.5, 3e-4, -1.833735, -3.733735)],
)
def test_the_worked_example(
    momentum: float, buffer: float | None, decay: float, moved: float, total: float
) -> None:
    """L_train = (w - a)^2 and L_held-out = a w - 2 a + 1 at a = 2, w = -2, with a learning rate of 0.025."""
    network, a = Number(-2.0), torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=momentum, weight_decay=decay)
    if buffer is not None:
        optimizer.state[network.w]["momentum_buffer"] = torch.tensor(buffer)
    seen: list[Tensor] = []

    def training(weights: Weights) -> Tensor:
        return (weights["w"] - a) ** 2

    def held_out(weights: Weights) -> Tensor:
        seen.append(weights["w"])
        return a * weights["w"] - 2 * a + 1

    weights = dict(network.named_parameters())
    [first] = torch.autograd.grad(held_out(weights), [a])
    [found] = unrolled_gradients(training, held_out, weights, [a], MomentumStep(network, optimizer))
    assert float(first) == -4.0
    assert float(seen[-1].detach()) == pytest.approx(moved, abs=1e-6)
    assert float(found) == pytest.approx(total, abs=1e-5)
    assert float(network.w.detach()) == -2


def test_where_nothing_depends_on_the_weights_the_first_order_is_left() -> None:
    network, a = Number(1.0), torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    [found] = unrolled_gradients(
        lambda weights: (weights["w"] * a).sum(),
        lambda _: a**2,
        dict(network.named_parameters()),
        [a],
        MomentumStep(network, optimizer),
    )
    assert float(found) == 4


@dataclass(frozen=True)
class Compared(DARTS):
    """Keeps, beside its own gradients, those of automatic differentiation through the unrolled step."""

    seen: ClassVar[list[tuple[list[Tensor], list[Tensor], list[Tensor]]]] = []

    def learn(self, module: DifferentiableModule) -> None:
        found = [g for g in self._second_order(module) if g is not None]
        first = [g for g in self._first_order(module) if g is not None]
        self.seen.append((found, exact_gradients(module), first))
        super().learn(module)


def exact_gradients(module: DifferentiableModule) -> list[Tensor]:
    weights = dict(module.supernet.named_parameters())
    loss = module.training_loss(module.alphas.probabilities(), weights)
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    [group] = module.weight_optimizer.param_groups
    moved = {}
    for (name, w), g in zip(weights.items(), gradients, strict=True):
        buffer = module.weight_optimizer.state.get(w, {}).get("momentum_buffer", torch.zeros_like(w))
        moved[name] = w - group["lr"] * (g + group["weight_decay"] * w + group["momentum"] * buffer)
    loss = module.held_out_loss(module.alphas.probabilities(), moved)
    return list(torch.autograd.grad(loss, module.alphas.vectors))


def test_the_second_order_is_that_of_automatic_differentiation(tmp_path: Path) -> None:
    Compared.seen.clear()
    model = short_runs.supernet_module(
        ToyCells(layers=3, width=5),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.2, momentum=0.9, weight_decay=0.01),
    )
    short_runs.trainer(tmp_path, precision="64-true").learn(
        model, short_runs.digits(), Compared(order=2), AlphaOptimizer(lr=0.1)
    )
    assert len(Compared.seen) == 6
    distances = []
    for found, exact, first in Compared.seen:
        for ours, theirs, plain in zip(found, exact, first, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
            distances.append(float((plain - theirs).abs().max()))
    assert max(distances) > 1e-4  # the second term matters


def learn(root: Path, flags: dict[str, Any] | None = None, **options: Any) -> None:
    model = short_runs.supernet_module(ToyCells(layers=2, width=4), **options)
    short_runs.trainer(root, **(flags or {})).learn(model, short_runs.digits(), DARTS(order=2))


def test_the_second_order_needs_full_precision(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"trainer\.precision is bf16-mixed, but strategy\.order is 2"):
        learn(tmp_path, {"precision": "bf16-mixed"})


def test_the_second_order_needs_a_step_that_it_knows(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"model\.optimizer is AdamW, but strategy\.order 2 foresees"):
        learn(tmp_path, optimizer=lambda params: torch.optim.AdamW(params, lr=0.1))
    with pytest.raises(NASError, match=r"model\.optimizer is SGD, but strategy\.order 2 foresees"):
        learn(tmp_path, optimizer=lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.1))


def test_another_order_is_refused() -> None:
    with pytest.raises(NASError, match=r"strategy\.order is 3: valid are 1 and 2"):
        DARTS(order=3)  # type: ignore[arg-type]
