"""DARTS: the mixture's weights are learnt by gradient descent, on images of their own.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, Eq. 5 to 8 and Algorithm 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from lightning_nas.differentiable.strategy import LearningStrategy
from lightning_nas.errors import NASError

if TYPE_CHECKING:
    from lightning_nas.differentiable.module import DifferentiableModule

Weights = Mapping[str, Tensor]

Loss = Callable[[Weights], Tensor]
"""The loss for given weights; it depends on the alphas, too."""


@dataclass(frozen=True)
class DARTS(LearningStrategy):
    """All operations run, weighted by the softmax of the alphas.

    A step learns the alphas on held-out images, then the weights on training images.

    The second order looks at the loss after the weights' next step, w' = w - xi (mu m + grad L_train + lambda w), with
    xi the current learning rate, m, mu and lambda momentum and weight decay of the weights' optimizer; the product with
    the second derivative is a finite difference with eps = 0.01 / ||grad_w' L_held-out||. As in the released code of
    its authors the step is that of plain momentum, without Nesterov's and without clipping.

    Attributes:
        order: 1 takes w' = w, 2 is about three times as slow and needs an SGD optimizer and full precision.

    Raises:
        NASError: Another order.
    """

    order: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise NASError(f"strategy.order is {self.order}: valid are 1 and 2")

    @property
    def needs_held_out(self) -> bool:
        """True."""
        return True

    def check(self, module: "DifferentiableModule") -> None:
        """Refuses the second order where its differences drown, or where it does not know the optimizer's step.

        Raises:
            NASError: Mixed precision, or another optimizer than SGD.
        """
        if self.order == 1:
            return
        if module.trainer.precision not in ("32-true", "64-true"):
            raise NASError(
                f"trainer.precision is {module.trainer.precision}, but strategy.order is 2, whose finite differences need "
                "32-true or 64-true"
            )
        optimizer = module.weight_optimizer
        if not isinstance(optimizer, torch.optim.SGD) or any(g["dampening"] for g in optimizer.param_groups):
            raise NASError(
                f"model.optimizer is {type(optimizer).__name__}, but strategy.order 2 foresees the step of "
                "torch.optim.SGD without dampening: give that, or strategy.order 1"
            )

    def learn(self, module: "DifferentiableModule") -> None:
        """Alphas first, then weights."""
        gradients = self._first_order(module) if self.order == 1 else self._second_order(module)
        module.update_alphas(gradients)
        mixture = [vector.detach() for vector in module.alphas.probabilities()]
        loss = module.training_loss(mixture)
        module.update_weights(module.gradients(loss, module.weights))

    def _first_order(self, module: "DifferentiableModule") -> Sequence[Tensor | None]:
        return module.gradients(module.held_out_loss(module.alphas.probabilities()), module.alphas.vectors)

    def _second_order(self, module: "DifferentiableModule") -> Sequence[Tensor | None]:
        return unrolled_gradients(
            training=lambda weights: module.training_loss(module.alphas.probabilities(), weights),
            held_out=lambda weights: module.held_out_loss(module.alphas.probabilities(), weights),
            weights=dict(module.supernet.named_parameters()),
            alphas=module.alphas.vectors,
            step=MomentumStep(module.supernet, module.weight_optimizer),
        )


class MomentumStep:
    """The next step of SGD with momentum and weight decay, taken on copies.

    Args:
        network: Names the parameters.
        optimizer: Its groups and its state are read.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        self._parameters = {name: (p, groups[p]) for name, p in network.named_parameters() if p in groups}

    def __call__(self, weights: Weights, gradients: Weights) -> dict[str, Tensor]:
        """The weights after it; those without a gradient stay, as in the optimizer."""
        return {
            name: self._after(name, w, gradients[name]) if name in gradients else w.detach()
            for name, w in weights.items()
        }

    def _after(self, name: str, w: Tensor, gradient: Tensor) -> Tensor:
        parameter, group = self._parameters[name]
        w = w.detach()
        velocity: Tensor = gradient + group["weight_decay"] * w
        buffer = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            velocity = velocity + group["momentum"] * buffer
        return w - float(group["lr"]) * velocity

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])


def unrolled_gradients(
    training: Loss, held_out: Loss, weights: Weights, alphas: Sequence[Tensor], step: MomentumStep
) -> list[Tensor]:
    """The gradient of the held-out loss after a step of the weights, with respect to the alphas (Eq. 7 and 8).

    Args:
        training: The loss that the step lowers.
        held_out: The loss that the alphas are to lower.
        weights: Where the step begins.
        alphas: What both losses depend on.
        step: The step.
    """
    gradients = _by_name(training(weights), weights)
    moved = {name: w.requires_grad_() for name, w in step(weights, gradients).items()}
    found = torch.autograd.grad(held_out(moved), [*alphas, *moved.values()], allow_unused=True)
    direct = _filled(found[: len(alphas)], alphas)
    after = dict(zip(moved, found[len(alphas) :], strict=True))
    # A weight that the training loss does not reach takes no step, and so does not depend on the alphas.
    direction = {name: after[name] for name in gradients if after[name] is not None}
    norm = torch.stack([v.norm() for v in direction.values()]).norm() if direction else torch.tensor(0.0)
    if not norm:
        return direct
    eps = 0.01 / norm
    ahead, behind = (
        _filled(_gradient(training(_moved(weights, direction, sign * eps)), alphas), alphas)
        for sign in (1, -1)
    )
    return [
        first - step.rate * (plus - minus) / (2 * eps)
        for first, plus, minus in zip(direct, ahead, behind, strict=True)
    ]


def _by_name(loss: Tensor, weights: Weights) -> dict[str, Tensor]:
    """The gradients of the weights that a loss depends on."""
    found = _gradient(loss, list(weights.values()))
    return {name: g for name, g in zip(weights, found, strict=True) if g is not None}


def _gradient(loss: Tensor, of: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return torch.autograd.grad(loss, of, allow_unused=True)


def _moved(weights: Weights, direction: Weights, by: Tensor) -> dict[str, Tensor]:
    return {
        name: w.detach() + by * direction[name] if name in direction else w.detach()
        for name, w in weights.items()
    }


def _filled(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Zeros where there is no gradient."""
    return [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, like, strict=True)]
