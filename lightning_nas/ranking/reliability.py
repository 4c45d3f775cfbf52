"""How far a measured ground truth can be trusted, and what that means for any ranking."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lightning_nas.errors import NASError
from lightning_nas.ranking.metrics import kendall_tau


@dataclass(frozen=True)
class Reliability:
    """What n paths trained with k seeds each tell of themselves.

    Attributes:
        between_paths: Standard deviation of the path means, in the unit of the accuracies.
        between_seeds: Standard deviation of one path over seeds (root of the mean variance).
        tau_of_single_seeds: Mean Kendall tau between the rankings of two single seeds.
        tau_ceiling: The Kendall tau that a scorer who knows the true mean of every path would reach against
            the measured means: no supernet can be expected to do better.
    """

    between_paths: float
    between_seeds: float
    tau_of_single_seeds: float
    tau_ceiling: float


def reliability(accuracies: ArrayLike) -> Reliability:
    """Splits the spread of a table into paths and seeds (one-way analysis of variance).

    The measured means vary by sigma_path^2 + sigma_seed^2 / k. The correlation of true and measured means is
    then r = sqrt(1 - (sigma_seed^2 / k) / var(means)), and for normal variables tau = 2 / pi * asin(r).

    Args:
        accuracies: Shape (paths, seeds), at least 2 of each.

    Raises:
        NASError: Fewer than two paths or two seeds.

    Example:
        >>> reliability([[80, 80], [85, 85], [90, 90]]).tau_ceiling
        1.0
    """
    table = np.asarray(accuracies, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise NASError(f"reliability needs at least 2 paths and 2 seeds, not a table of shape {table.shape}")
    seed_variance = float(table.var(axis=1, ddof=1).mean())
    mean_variance = float(table.mean(axis=1).var(ddof=1))
    signal = 1 - seed_variance / table.shape[1] / mean_variance if mean_variance else 0.0
    pairs = itertools.combinations(table.T, 2)
    return Reliability(
        between_paths=math.sqrt(mean_variance),
        between_seeds=math.sqrt(seed_variance),
        tau_of_single_seeds=float(np.mean([kendall_tau(a, b) for a, b in pairs])),
        tau_ceiling=2 / math.pi * math.asin(math.sqrt(max(signal, 0.0))),
    )
