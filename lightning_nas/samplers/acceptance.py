"""How likely a path is trained, by the density of its neighbourhood.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Eq. 10; see PrototypeDensitySampler.
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_nas.errors import NASError

Mid = Literal["median", "mean", "midrange"]


def acceptance(density: ArrayLike, mid: float, tau: float) -> NDArray[np.float64]:
    """P, the probability that a path is trained (Eq. 10), its logit cut off at 20.

    Example:
        >>> float(acceptance(1.25, mid=1, tau=1).round(6))
        0.437823
    """
    logits = np.clip((mid - np.asarray(density, dtype=np.float64)) / tau, -20, 20)
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return probabilities


def middle(density: NDArray[np.float64], mid: Mid | float) -> float:
    """alpha_mid of some densities."""
    if isinstance(mid, str):
        ways: dict[str, Any] = {
            "median": np.median,
            "mean": np.mean,
            "midrange": lambda x: (x.min() + x.max()) / 2,
        }
        return float(ways[mid](density))
    return float(np.quantile(density, mid))


def robust_deviation(density: NDArray[np.float64]) -> float:
    """The standard deviation of a normal distribution with the same interquartile range."""
    lower, upper = np.quantile(density, [0.25, 0.75])
    return float(upper - lower) / 1.349


def threshold_for(density: NDArray[np.float64], accept_rate: float, tau: float) -> float:
    """The alpha_mid for which so many of some paths are accepted, found by halving an interval.

    Example:
        >>> densities = np.array([2.970516, 3.242328, 2.668402, 1.0])
        >>> mid = threshold_for(densities, 0.3, tau=0.5)
        >>> float(acceptance(densities, mid, 0.5).mean().round(6))
        0.3
    """
    low, high = density.min() - 20 * tau, density.max() + 20 * tau
    for _ in range(60):
        mid = (low + high) / 2
        if acceptance(density, mid, tau).mean() < accept_rate:
            low = mid
        else:
            high = mid
    return float(high)


def require_acceptance(tau: float, mid: Mid | float, target_accept_rate: float | None) -> None:
    """Looks at the options of a sampler.

    Raises:
        NASError: One is out of range, or two of them say the same.
    """
    if not tau > 0:
        raise NASError(f"sampler.tau is {tau}: a temperature is positive")
    named = mid in get_args(Mid)
    if not named and not (isinstance(mid, float) and 0 < mid < 1):
        raise NASError(
            f"sampler.mid is {mid!r}: valid are {', '.join(get_args(Mid))} and quantiles in (0, 1)"
        )
    rate = target_accept_rate
    if rate is not None and not 0 < rate < 1:
        raise NASError(f"sampler.target_accept_rate is {rate}: valid are numbers in (0, 1)")
    if rate is not None and mid != "median":
        raise NASError(
            f"sampler.mid is {mid!r} and sampler.target_accept_rate is {rate}: one follows from the other, give one"
        )
