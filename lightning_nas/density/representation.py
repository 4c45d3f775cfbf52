"""What stands for a path when distances between paths are measured.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.6 and Tab. 2. All of
them are taken on one fixed batch of validation images, in the precision of the weights, with batch-norm on
the statistics of that batch, and leave the supernet as they found it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.density.distance import hamming_mean_distance, mean_distance
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, Supernet

Representation = Literal["functional", "gradient", "encoding"]


def probe_indices(num_images: int, size: int, seed: int) -> tuple[int, ...]:
    """The validation images on which representations are taken: drawn once per seed, without repetition.

    Raises:
        NASError: ``size`` is less than 2 or more than there are images.
    """
    if not 2 <= size <= num_images:
        raise NASError(
            f"probe_size is {size}, but the validation split has {num_images} images: valid are 2 to {num_images}"
        )
    return tuple(generator(seed, Stream.PROBE).choice(num_images, size, replace=False).tolist())


def mean_distances(
    supernet: Supernet, paths: Sequence[Path], images: Tensor, labels: Tensor, representation: Representation
) -> NDArray[np.float64]:
    """Mean distance of every path to the others; the density is its inverse (Eq. 5).

    Args:
        supernet: Whose paths are compared.
        paths: At least two.
        images: The probe, N x C x H x W.
        labels: Its classes, (N,); the gradient needs them.
        representation: ``functional``: the logits on the probe, flattened (Eq. 11). ``gradient``: the gradient
            of the cross-entropy in all weights, zero where a path does not use one (Eq. 3 and 4).
            ``encoding``: the symbols of the path itself, without running anything.

    Returns:
        Distances in [0, 2], shape (P,).
    """
    if representation == "encoding":
        return hamming_mean_distance([supernet.space.features(path) for path in paths])
    weight = next(supernet.parameters())
    images, labels = images.to(weight.device, weight.dtype), labels.to(weight.device)
    with batch_statistics(supernet):
        if representation == "functional":
            return mean_distance(functional(supernet, paths, images))
        return mean_distance(gradient(supernet, paths, images, labels))


@torch.no_grad()
def functional(supernet: Supernet, paths: Sequence[Path], images: Tensor) -> NDArray[np.float32]:
    """Flattened logits, shape (P, N * classes)."""
    rows: list[NDArray[np.float32] | None] = [None] * len(paths)
    for position, logits in supernet.forward_each(images, paths):
        rows[position] = logits.float().flatten().cpu().numpy()
    return np.stack([row for row in rows if row is not None])


@torch.enable_grad()
def gradient(
    supernet: Supernet, paths: Sequence[Path], images: Tensor, labels: Tensor
) -> NDArray[np.float32]:
    """Flattened gradients of the mean cross-entropy, shape (P, weights)."""
    weights = list(supernet.parameters())
    rows = []
    for path in paths:
        loss = F.cross_entropy(supernet(images, path), labels)
        # autograd.grad, unlike backward, leaves the gradients of the training step alone.
        grads = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([grad.flatten() for grad in grads]).float().cpu().numpy())
    return np.stack(rows)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, but batch-norm uses the statistics of the batch and keeps none of them."""
    modes = {module: module.training for module in network.modules()}
    norms = [module for module in modes if isinstance(module, _BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    network.eval()
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, track in zip(norms, tracked, strict=True):
            norm.track_running_stats = track
        for module, training in modes.items():
            module.training = training
