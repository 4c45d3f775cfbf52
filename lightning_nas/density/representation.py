"""What stands for a path when distances between paths are measured.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.6 and Tab. 2. All of
them are taken on one fixed batch of validation images, in the precision of the weights, with batch-norm on
the statistics of that batch, and leave the supernet as they found it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.density.distance import hamming_mean_distance, mean_distance, unit_vectors
from lightning_nas.density.gradient import layer_mean_distances, owned_weights, path_gradient
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, Supernet

UnitRepresentation = Literal["functional", "cka", "gradient_concat"]
"""Representations that are one unit vector y per path, so that two paths are 1 - y_a.y_b apart."""

Representation = Literal[UnitRepresentation, "gradient", "encoding"]

FEWEST_IMAGES = 16
"""On fewer images, statistics of the batch say more about the images than about the path."""


def probe_indices(num_images: int, size: int, seed: int, key: str = "probe_size") -> tuple[int, ...]:
    """The validation images on which representations are taken: drawn once per seed, without repetition.

    Args:
        num_images: Images of the validation split.
        size: How many are drawn.
        seed: Seed of the draw.
        key: Where ``size`` was given.

    Raises:
        NASError: ``size`` is less than 2 or more than there are images.
    """
    if not 2 <= size <= num_images:
        raise NASError(
            f"{key} is {size}, but the validation split has {num_images} images: valid are 2 to {num_images}"
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
        representation: ``functional``: the logits on the probe, flattened (Eq. 11).

            ``cka``: what a few layers make of the probe, compared by linear CKA (Sec. 4.1.3), which of them
            says ``Supernet.activations``; the distance is the mean over them.

            ``gradient``: the gradient of the cross-entropy, layer by layer where choices own weights (Tab. 2), see
            ``layer_mean_distances``. ``gradient_concat``: the gradient in all weights as one vector, zero where
            a path does not use one (Eq. 3 and 4).

            ``encoding``: the symbols of the path itself, without running anything.

    Returns:
        Distances in [0, 2], shape (P,).
    """
    if representation == "encoding":
        return hamming_mean_distance([supernet.space.features(path) for path in paths])
    images, labels = as_weights(supernet, images, labels)
    with batch_statistics(supernet):
        if representation == "functional":
            return mean_distance(functional(supernet, paths, images))
        if representation == "cka":
            layers = cka(supernet, paths, images).transpose(1, 0, 2)
            return sum(map(mean_distance, layers), np.zeros(len(paths))) / len(layers)
        if representation == "gradient" and owned_weights(supernet):
            return layer_mean_distances(supernet, paths, images, labels)
        return mean_distance(gradient(supernet, paths, images, labels))


def unit_representations(
    supernet: Supernet,
    paths: Sequence[Path],
    images: Tensor,
    labels: Tensor,
    representation: UnitRepresentation = "functional",
) -> NDArray[np.float64]:
    """A vector y for every path, such that paths a and b are 1 - y_a.y_b apart.

    Args:
        supernet: Whose paths are compared.
        paths: At least one.
        images: The probe, N x C x H x W.
        labels: Its classes, (N,); the gradient needs them.
        representation: As for ``mean_distances``.

    Returns:
        Vectors of length 1, or less where something has no direction, shape (P, dimensions).
    """
    images, labels = as_weights(supernet, images, labels)
    with batch_statistics(supernet):
        if representation == "functional":
            return unit_vectors(functional(supernet, paths, images))
        if representation == "cka":
            layers = unit_vectors(cka(supernet, paths, images))
            # The dot product of these is the mean of those of the layers.
            return layers.reshape(len(paths), -1) / math.sqrt(layers.shape[1])
        return unit_vectors(gradient(supernet, paths, images, labels))


def as_weights(supernet: Supernet, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The probe where the weights are, and in their precision."""
    weight = next(supernet.parameters())
    return images.to(weight.device, weight.dtype), labels.to(weight.device)


@torch.no_grad()
def functional(supernet: Supernet, paths: Sequence[Path], images: Tensor) -> NDArray[np.float32]:
    """Flattened logits, shape (P, N * classes)."""
    rows: list[NDArray[np.float32] | None] = [None] * len(paths)
    for position, logits in supernet.forward_each(images, paths):
        rows[position] = logits.float().flatten().cpu().numpy()
    return np.stack([row for row in rows if row is not None])


@torch.no_grad()
def cka(supernet: Supernet, paths: Sequence[Path], images: Tensor) -> NDArray[np.float32]:
    """Centred Gram matrices of a few layers, flattened, shape (P, layers, N * N).

    Their cosine is linear CKA (Kornblith et al., Similarity of Neural Network Representations Revisited, ICML
    2019, Sec. 3): K = X X^T of the activations X of a layer, centred to H K H = (H X) (H X)^T.

    Raises:
        NASError: The supernet does not say which layers to compare.
    """
    rows = []
    for path in paths:
        grams = [centred_gram(layer).flatten() for layer in supernet.activations(images, path)]
        rows.append(torch.stack(grams).float().cpu().numpy())
    return np.stack(rows)


def centred_gram(activations: Tensor) -> Tensor:
    """Dot products of the centred activations of N images, shape (N, N), double precision."""
    x = activations.flatten(1).double()
    x = x - x.mean(0)
    return x @ x.T


def gradient(
    supernet: Supernet, paths: Sequence[Path], images: Tensor, labels: Tensor
) -> NDArray[np.float32]:
    """Flattened gradients of the mean cross-entropy in all weights, shape (P, weights)."""
    weights = list(supernet.parameters())
    rows = (path_gradient(supernet, path, images, labels, weights) for path in paths)
    return np.stack([torch.cat([grad.flatten() for grad in row]).float().cpu().numpy() for row in rows])


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, but batch-norm uses the statistics of the batch and keeps none of them."""
    # Supernets have thousands of modules, and writing past nn.Module.__setattr__ is ten times faster.
    modules = list(network.modules())
    states = [vars(module) for module in modules]
    modes = [state["training"] for state in states]
    # Without running statistics a layer uses the batch's. In training mode it does so, too, but SyncBatchNorm would then wait
    # for other processes, which may have nothing to measure.
    buffers = [module._buffers for module in modules if isinstance(module, _BatchNorm)]
    tracked = [(own["running_mean"], own["running_var"]) for own in buffers]
    try:
        for state in states:
            state["training"] = False
        for own in buffers:
            own.update(running_mean=None, running_var=None)
        yield
    finally:
        for own, (mean, variance) in zip(buffers, tracked, strict=True):
            own.update(running_mean=mean, running_var=variance)
        for state, training in zip(states, modes, strict=True):
            state["training"] = training
