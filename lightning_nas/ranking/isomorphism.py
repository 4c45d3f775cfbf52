"""Paths that are one network when trained alone: how differently a supernet scores them.

Source: Ning et al., "Evaluating Efficient Performance Estimators of Neural Architectures" (2021), Sec. 6.2 and
Fig. A17. The keys of the classes come from ``SearchSpace.canonical``.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import Floats, finite_vector


@dataclass(frozen=True)
class ClassSpread:
    """How scores spread inside and between classes of isomorphic paths, in the unit of the scores.

    Attributes:
        classes: Number of classes.
        repeated: How many of them have several paths.
        within: Mean standard deviation inside these; NaN where there is none.
        within_all: The same over all classes, those of one path counting as 0.
        between: Standard deviation of the class means.
    """

    classes: int
    repeated: int
    within: float
    within_all: float
    between: float


def class_numbers(keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """The class of every path, numbered from 0 in the order of their first paths.

    Example:
        >>> class_numbers(["a", "b", "a"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def class_means(values: ArrayLike, keys: Sequence[Hashable]) -> Floats:
    """The mean of every class, in the order of their first paths; NaN where a member is NaN.

    Args:
        values: A number per path, shape (n,).
        keys: The class of every path, n of them.

    Raises:
        NASError: The lengths differ.
    """
    vector, number = _checked(values, keys)
    means: Floats = np.bincount(number, weights=vector) / np.bincount(number)
    return means


def class_spread(scores: ArrayLike, keys: Sequence[Hashable]) -> ClassSpread:
    """Standard deviations (of the population) of scores inside and between classes.

    Args:
        scores: One-shot scores, or ranks divided by n, shape (n,). "Worst" has no distance: with a NaN the
            spreads are NaN.
        keys: The class of every path, n of them.

    Raises:
        NASError: The lengths differ.

    Example:
        >>> class_spread([0.5, 0.25, 0.0], ["a", "b", "a"]).within
        0.25
    """
    vector, number = _checked(scores, keys)
    if not len(vector):
        return ClassSpread(0, 0, math.nan, math.nan, math.nan)
    sizes, means = np.bincount(number), class_means(vector, keys)
    deviations = np.sqrt(np.bincount(number, weights=(vector - means[number]) ** 2) / sizes)
    repeated = sizes > 1
    return ClassSpread(
        classes=len(sizes),
        repeated=int(repeated.sum()),
        within=float(deviations[repeated].mean()) if repeated.any() else math.nan,
        within_all=float(deviations.mean()),
        between=float(means.std()),
    )


def post_deisomorphism(
    scores: ArrayLike, truth: ArrayLike, keys: Sequence[Hashable]
) -> tuple[Floats, Floats]:
    """One entry per class: the mean score and the mean ground truth of its paths, for any criterion.

    Args:
        scores: One-shot scores, shape (n,); a class with a NaN has the score NaN, which counts as the worst.
        truth: Ground truth, shape (n,).
        keys: The class of every path, n of them.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.
    """
    return class_means(scores, keys), class_means(finite_vector("ground truth", truth), keys)


def representatives(keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """The index of the first path of every class."""
    return np.unique(class_numbers(keys), return_index=True)[1]


def _checked(values: ArrayLike, keys: Sequence[Hashable]) -> tuple[Floats, NDArray[np.intp]]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (len(keys),):
        raise NASError(f"values have shape {vector.shape}, but there are {len(keys)} keys of classes.")
    return vector, class_numbers(keys)
