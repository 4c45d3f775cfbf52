"""Running what was exported, and comparing it with the network in PyTorch."""

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import SearchSpace

Run = Callable[[Tensor], Tensor]
"""Maps normalised images (N x C x H x W, float32) to logits (N x classes)."""

TOLERANCE = 1e-4
EXAMPLES = 5


def require_packages(what: str, packages: Sequence[str]) -> None:
    """Refuses what the environment cannot do.

    Raises:
        NASError: A package is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise NASError(
                f"{what} needs the package {package}, which is not installed: pip install 'lightning-nas[export]'"
            )


def example(space: SearchSpace) -> Tensor:
    """A few random images that fit a space, the same in every call (N x C x H x W)."""
    shape = (EXAMPLES, space.in_channels, space.image_size, space.image_size)
    return torch.from_numpy(generator(0, Stream.EXAMPLE).standard_normal(shape, dtype="float32"))


@torch.no_grad()
def difference(run: Run, network: nn.Module, space: SearchSpace) -> float:
    """The largest difference between the logits of an exported network and of the one in PyTorch.

    Of random images in a batch, and of each of them alone. Where logits are above 1 it is relative to the largest,
    because rounding is.

    Raises:
        NASError: It is above 1e-4, or the logits in PyTorch are not finite.
    """
    images = example(space)
    expected = network(images)
    if not expected.isfinite().all():
        raise NASError("the logits of the network are not finite: its training diverged")
    alone = torch.cat([run(image[None]) for image in images])
    differences = torch.stack([run(images), alone]) - expected
    found = float(differences.abs().max() / expected.abs().max().clamp(min=1))
    if not found <= TOLERANCE:  # also where it is no number
        raise NASError(
            f"the exported network differs from the one in PyTorch by {found:.1e}, but at most {TOLERANCE:.0e} is "
            "allowed: nothing was written"
        )
    return found
