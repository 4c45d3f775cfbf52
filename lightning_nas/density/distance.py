"""The mean distance of every path to all others, in closed form.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Eq. 4, 5 and 11.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError

ZERO_NORM = 1e-12
"""Vectors shorter than this have no direction: their distance to everything is 1."""


def mean_distance(vectors: ArrayLike) -> NDArray[np.float64]:
    """Mean cosine distance of every vector to the others (Eq. 5), without the matrix of all pairs.

    With unit vectors y and S their sum, the mean over the n - 1 others is (n - y.S) / (n - 1), because the
    distance to itself is 0.

    Args:
        vectors: One representation per path, shape (n, d), n >= 2.

    Returns:
        Mean distances in [0, 2], shape (n,). The density of a path is the inverse.

    Example:
        >>> mean_distance([[1, 0], [1, 0.1], [1, -0.1], [0, 1]]).round(6).tolist()
        [0.336642, 0.30842, 0.374756, 1.0]
    """
    y = unit_vectors(vectors)
    n = len(y)
    # |y|^2 is 1, and 0 where there is no direction; either way the distance to itself must not count.
    others = y @ y.sum(axis=0) - np.einsum("ij,ij->i", y, y)
    distances: NDArray[np.float64] = np.maximum((n - 1 - others) / (n - 1), 0.0)
    return distances


def unit_vectors(vectors: ArrayLike) -> NDArray[np.float64]:
    """The directions of vectors along the last axis; zeros where there is none.

    Raises:
        NASError: A number is not finite, because the weights have diverged.

    Example:
        >>> unit_vectors([[3, 4], [0, 0]]).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    x = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    if not np.isfinite(norms).all():
        raise NASError(
            "what represents the paths is not finite: lower the learning rate (model.optimizer) or clip gradients "
            "(trainer.gradient_clip_val)"
        )
    directions: NDArray[np.float64] = np.divide(x, norms, out=np.zeros_like(x), where=norms >= ZERO_NORM)
    return directions


def hamming_mean_distance(features: ArrayLike) -> NDArray[np.float64]:
    """Mean fraction of differing symbols between every path and the others.

    On full product spaces and on the Pooling space it is the same for all paths: a null control.

    Args:
        features: Symbols of every path, integers of shape (n, decisions).

    Example:
        >>> hamming_mean_distance([[0, 1, 2], [0, 1, 1], [2, 1, 2]]).round(6).tolist()
        [0.333333, 0.5, 0.5]
    """
    symbols = np.asarray(features)
    n, length = symbols.shape
    agreeing = np.zeros(n)
    for column in symbols.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        agreeing += counts[inverse] - 1
    distances: NDArray[np.float64] = 1 - agreeing / (length * (n - 1))
    return distances
