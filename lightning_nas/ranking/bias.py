"""Does the supernet overrate architectures in dense regions?

Source: Javan Roshtkhari et al., "Debiased One-shot NAS via Density-aware Sampling", Eq. 5. There the density
of a path is 1 / (its mean distance to all other paths). Only the order of densities matters here, so minus
the mean distance stands in for it: the same order, and no pole where the distance is 0.
"""

from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy.stats import rankdata

from lightning_nas.ranking.metrics import Floats, finite_vector, kendall_tau, paired


@dataclass(frozen=True)
class DensityBias:
    """Rank correlations (Kendall's tau-b, -1 to 1) with density; NaN where one side is constant.

    Attributes:
        density_bias: Of density with the rank error. Positive: paths in dense regions are overrated.
        density_vs_score: Of density with the one-shot score.
        density_vs_ground_truth: Of density with the ground truth: the part of the former that is deserved.
    """

    density_bias: float
    density_vs_score: float
    density_vs_ground_truth: float


def rank_error(scores: ArrayLike, truth: ArrayLike) -> Floats:
    """Rank in the ground truth minus rank by score; average ranks where tied, 1 = best.

    Args:
        scores: One-shot scores, higher is better, shape (n,); NaN counts as the worst.
        truth: Ground truth, higher is better, shape (n,).

    Returns:
        Shape (n,), from 1 - n to n - 1, with sum 0. Positive: the supernet ranks the path better than the
        ground truth does.

    Raises:
        NASError: The lengths differ, or a ground truth is not finite.

    Example:
        >>> rank_error([0.1, 0.3, 0.2], [93.0, 92.0, 91.0]).tolist()
        [-2.0, 1.0, 1.0]
    """
    scores, truth = paired(scores, truth)
    error: Floats = rankdata(-truth) - rankdata(-scores)
    return error


def density_bias(mean_distance: ArrayLike, scores: ArrayLike, truth: ArrayLike) -> DensityBias:
    """How density goes along with the rank error, the score and the ground truth.

    Args:
        mean_distance: Mean distance of every path to all others, shape (n,); small means dense.
        scores: One-shot scores, higher is better, shape (n,); NaN counts as the worst.
        truth: Ground truth, higher is better, shape (n,).

    Raises:
        NASError: The lengths differ, or a distance or a ground truth is not finite.

    Example:
        >>> density_bias([0.9, 0.5, 0.1], scores=[1, 2, 3], truth=[3, 2, 1])
        DensityBias(density_bias=1.0, density_vs_score=1.0, density_vs_ground_truth=-1.0)
    """
    density = -finite_vector("mean distance", mean_distance)
    return DensityBias(
        density_bias=kendall_tau(density, rank_error(scores, truth)),
        density_vs_score=kendall_tau(scores, density),
        density_vs_ground_truth=kendall_tau(density, truth),
    )
