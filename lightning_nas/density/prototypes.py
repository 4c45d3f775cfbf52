"""Prototypes: a few vectors that stand for all paths of a space that is too large to measure.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.5 and Algorithm 2. All of
it is double precision on the CPU; a path is a vector y of ``unit_representations``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from sklearn.cluster import KMeans
from torch import Tensor

from lightning_nas.density.distance import ZERO_NORM, mean_distance
from lightning_nas.density.representation import UnitRepresentation, unit_representations
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, Supernet

Beta = Literal["printed", "inverse"]

LONGEST = 4096
"""Representations with more dimensions are projected."""

PROJECTED = 2048
"""Dimensions of a projection."""

COLLAPSED = 0.1
"""Prototypes whose spread is less than this part of what it was no longer tell regions apart."""


def cluster(y: Tensor, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Prototypes of a population by K-Means (Lloyd, seeded by k-means++).

    Args:
        y: Representations of the population, shape (N, D).
        number: How many prototypes; fewer, where the population has fewer different members.
        rng: Draws the seed of K-Means.

    Returns:
        The centres, shape (K, D), which are means of unit vectors and hence shorter, and the share of the
        population that is nearest to each, shape (K,).
    """
    different = len(np.unique(y.numpy(), axis=0))
    seed = int(rng.integers(2**32))
    means = KMeans(min(number, different), init="k-means++", n_init=1, max_iter=50, random_state=seed)
    labels = means.fit_predict(y.numpy())
    masses = np.bincount(labels, minlength=len(means.cluster_centers_)) / len(labels)
    return torch.from_numpy(means.cluster_centers_).double(), torch.from_numpy(masses)


def cosine_distances(y: Tensor, prototypes: Tensor) -> Tensor:
    """d(a, c_k) = 1 - y.c_k / |c_k| of every path and prototype (Eq. 11).

    The length of a path does not count because y has length 1. (Where it is less, a part of the
    representation has no direction and is at distance 1 from everything.)

    Args:
        y: Representations, shape (..., D).
        prototypes: Of any length, shape (K, D).

    Returns:
        Distances in [0, 2], shape (..., K).

    Example:
        >>> c = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
        >>> cosine_distances(torch.tensor([0.8, 0.6]), c)
        tensor([0.2000, 0.4000, 1.8000])
    """
    lengths = torch.linalg.vector_norm(prototypes, dim=1, keepdim=True)
    directions = torch.where(lengths < ZERO_NORM, 0.0, prototypes / lengths.clamp(min=ZERO_NORM))
    return (1 - y @ directions.T).clamp(0, 2)


def update(prototypes: Tensor, y: Tensor, rate: float, beta: Beta = "printed") -> Tensor:
    """The prototypes after one more path (Eq. 8 and 9). They are not brought back to length 1.

    Args:
        prototypes: Shape (K, D).
        y: The path, shape (D,).
        rate: lambda, in (0, 1].
        beta: How much of the step each prototype takes. ``printed``: in proportion to d^2(a, c_k), Eq. 8 as it stands,
            under which the farthest prototype moves most, until all are the mean of the population. ``inverse``: in
            proportion to 1 / d^2, under which the nearest one moves most and prototypes stay apart.

    Example:
        >>> c = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> update(c, torch.tensor([0.8, 0.6]), rate=0.1)[2]
        tensor([-0.8305,  0.0565])
    """
    squared = cosine_distances(y, prototypes) ** 2
    shares = 1 / (squared + 1e-6) if beta == "inverse" else squared
    total = shares.sum()
    # A path that equals all prototypes moves them by nothing, whatever the shares.
    shares = shares / total if total > 0 else torch.full_like(shares, 1 / len(shares))
    return prototypes + rate * shares[:, None] * (y - prototypes)


def spread(prototypes: Tensor) -> float:
    """Mean cosine distance between prototypes; 0 where there is one."""
    return float(mean_distance(prototypes.numpy()).mean()) if len(prototypes) > 1 else 0.0


def represent(
    supernet: Supernet,
    paths: Sequence[Path],
    images: Tensor,
    labels: Tensor,
    representation: UnitRepresentation,
    seed: int,
) -> Tensor:
    """``unit_representations`` of some paths, projected where they are long, shape (P, D)."""
    # All logits fit in memory, and paths that begin alike are run together; the others are much larger.
    groups = [paths] if representation == "functional" else [[path] for path in paths]
    return torch.cat(
        [
            project(
                torch.from_numpy(unit_representations(supernet, group, images, labels, representation)), seed
            )
            for group in groups
        ]
    )


def warn_of_collapse(now: float, initial: float) -> bool:
    """Warns where the spread of prototypes is less than a tenth of what it was, if it was any.

    Returns:
        Whether it did.
    """
    collapsed = initial > 0 and now < COLLAPSED * initial
    if collapsed:
        rank_zero_warn(
            f"the spread of the prototypes is {now:.2g}, less than a tenth of the {initial:.2g} at the beginning: all of "
            "them are the mean of the population by now; beta inverse keeps them apart"
        )
    return collapsed


def project(y: Tensor, seed: int) -> Tensor:
    """Vectors of more than 4,096 dimensions with 2,048, and about the same dot products.

    Every coordinate is added, under a random sign, to a random coordinate of the result (Weinberger et al., Feature
    Hashing for Large Scale Multitask Learning, ICML 2009). A full matrix of signs would be as large as 2,048
    representations.

    Args:
        y: Shape (N, D).
        seed: Seed of the run.

    Returns:
        Vectors of the same lengths, shape (N, D) or (N, 2048).
    """
    dimensions = y.shape[1]
    if dimensions <= LONGEST:
        return y
    targets, signs = _projection(dimensions, seed)
    projected = y.new_zeros(len(y), PROJECTED).index_add_(1, targets, y * signs)
    lengths = [torch.linalg.vector_norm(vectors, dim=1, keepdim=True) for vectors in (y, projected)]
    scaled: Tensor = projected * (lengths[0] / lengths[1].clamp(min=ZERO_NORM))
    return scaled


@lru_cache(maxsize=1)
def _projection(dimensions: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = generator(seed, Stream.PROJECTION)
    targets, signs = rng.integers(PROJECTED, size=dimensions), rng.choice([-1.0, 1.0], size=dimensions)
    return torch.from_numpy(targets), torch.from_numpy(signs)
