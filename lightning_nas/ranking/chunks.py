"""A ranking of fewer paths: one out of every chunk of the ground truth.

Source: Jeon et al., "Subnet-Aware Dynamic Supernet Training for Neural Architecture Search" (2025). The paper
says "evenly split entire subnets into 400 chunks based on stand-alone accuracies" and takes the best of each.
Its released list for NAS-Bench-201 is another one: 327 paths, from 400 chunks of equal width on the test
accuracies of ImageNet16-120, used for all three data sets. Taus on either are higher or lower than on the whole
space and are not comparable with those.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import Floats, finite_vector

ChunkMode = Literal["equal_count", "equal_width"]

CHUNKS = 400


def chunk_sample(truth: ArrayLike, chunks: int = CHUNKS, mode: ChunkMode = "equal_count") -> NDArray[np.intp]:
    """The truly best path of every chunk; ties by the lower index.

    Args:
        truth: Ground truth, shape (n,).
        chunks: Number of chunks, at least 1.
        mode: ``equal_count`` as in the paper: chunks of equally many paths. ``equal_width`` as in the released
            list: accuracies from the lowest to the highest cut into equal intervals. A value on a border belongs
            to the lower one, and intervals without a path give none.

    Returns:
        Indices of the chosen paths, from the lowest chunk to the highest; fewer than ``chunks`` where some
        are empty.

    Raises:
        NASError: Less than one chunk, or a ground truth that is not finite.

    Example:
        >>> truth = [93.1, 91.0, 94.2, 90.5, 92.3, 88.0, 94.0, 91.0]
        >>> chunk_sample(truth, 4).tolist(), chunk_sample(truth, 4, "equal_width").tolist()
        ([3, 1, 0, 2], [5, 1, 4, 2])
    """
    values = finite_vector("ground truth", truth)
    if chunks < 1:
        raise NASError(f"chunks is {chunks}, but at least 1 is needed.")
    order = np.argsort(values, kind="stable")
    if mode == "equal_count":
        parts = np.array_split(order, chunks)
    else:
        parts = np.split(order, np.searchsorted(values[order], _borders(values, chunks), side="right"))
    # In a chunk paths are in ascending order, and of equal ones the first index comes first.
    best = [part[np.searchsorted(values[part], values[part[-1]])] for part in parts if len(part)]
    return np.array(best, dtype=np.intp)


def released_sample(imagenet16_120: ArrayLike) -> NDArray[np.intp]:
    """The released list of Jeon et al. for NAS-Bench-201, in its order.

    Args:
        imagenet16_120: Test accuracies on ImageNet16-120 of all 15,625 paths in the order of the space. The list
            is the same for the other data sets.

    Returns:
        327 indices.
    """
    return chunk_sample(imagenet16_120, CHUNKS, "equal_width")


def _borders(values: Floats, chunks: int) -> Floats:
    """The inner borders of equal intervals from the lowest to the highest value."""
    if not len(values):
        return np.empty(0)
    borders: Floats = np.linspace(values.min(), values.max(), chunks + 1)[1:-1]
    return borders
