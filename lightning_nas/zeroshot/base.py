"""What all training-free estimators have in common: they look at a network and leave it as it was."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_nas.errors import NASError


class Estimator(ABC):
    """A number that is to tell how good a network will be, without training it; higher is better.

    A subclass with options is a frozen dataclass that has them as fields.

    Attributes:
        title: What it is called in tables.
        min_images: How many images it needs at least.
    """

    title: ClassVar[str]
    min_images: ClassVar[int] = 1

    @abstractmethod
    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The estimate; NaN or infinite where it is undefined for this network.

        Args:
            network: In training mode, so that batch-norm takes the statistics of the batch.
            images: Normalised, N x C x H x W.
            labels: Their classes, N.

        Raises:
            NASError: The network has nothing that this estimator could look at.
        """

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The estimate, without a trace: weights, gradients, modes, buffers and random state stay as they were.

        Raises:
            NASError: Too few images, or the network has nothing that this estimator could look at.
        """
        self.require_images(len(images))
        with left_alone(network), torch.enable_grad():
            return self.score(network.train(), images, labels)

    def require_images(self, number: int) -> None:
        """Refuses too few images.

        Raises:
            NASError: They are less than ``min_images``.
        """
        if number < self.min_images:
            raise NASError(f"{self.name} is given {number} images, but needs at least {self.min_images}")

    @property
    def name(self) -> str:
        """The title, with the options that are not the usual ones."""
        options: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        changed = [
            f"{option.name}={getattr(self, option.name)}"
            for option in options
            if getattr(self, option.name) != option.default
        ]
        return self.title + (f"({', '.join(changed)})" if changed else "")


@contextmanager
def left_alone(network: nn.Module) -> Iterator[None]:
    """Puts modes, buffers, gradients and the state of torch's random streams back as they were.

    Inside, all weights can have gradients, and none has one yet.
    """
    modes = {module: module.training for module in network.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    parameters = [(weight, weight.grad, weight.requires_grad) for weight in network.parameters()]
    devices = {weight.device for weight, *_ in parameters if weight.is_cuda}
    with torch.random.fork_rng(sorted(devices, key=str)):
        try:
            for weight, *_ in parameters:
                weight.requires_grad_()
                weight.grad = None  # or what is propagated back would be added to it
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for weight, gradient, required in parameters:
                weight.grad = gradient
                weight.requires_grad_(required)


def scored_weights(network: nn.Module) -> list[Tensor]:
    """The weights of convolutions and linear layers: neither biases nor those of normalisation are scored.

    Raises:
        NASError: There are none.
    """
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if not weights:
        raise NASError(f"{type(network).__name__} has neither convolutions nor linear layers to be scored")
    return weights


def loss_gradients(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    weights: Sequence[Tensor],
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients of the mean cross-entropy; zeros in weights that the network does not use."""
    loss = F.cross_entropy(network(images), labels)
    return torch.autograd.grad(
        loss, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def total(terms: Sequence[Tensor]) -> float:
    """The sum of the elements of all tensors, added up in double precision."""
    return float(torch.stack([term.detach().double().sum() for term in terms]).sum())


class Calls(TorchFunctionMode):
    """Records the calls of certain functions, whether modules or anything else makes them.

    Args:
        functions: Which, such as ``torch.relu``.

    Attributes:
        seen: The positional arguments and the result of every call, in their order.
    """

    def __init__(self, functions: frozenset[Any]) -> None:
        super().__init__()
        self.functions = functions
        self.seen: list[tuple[tuple[Any, ...], Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function and remembers it."""
        result = func(*args, **(kwargs or {}))
        if func in self.functions:
            self.seen.append((args, result))
        return result
