import numpy as np
import pytest

from lightning_nas.samplers.acceptance import acceptance, middle, robust_deviation, threshold_for

DENSITIES = np.array([2.970516, 3.242328, 2.668402, 1.0])


@pytest.mark.parametrize(
    ("mid", "tau", "expected"), [(1, 1, 0.437823), (2, 1, 0.679179), (2, 0.1, 0.999447), (1.25, 1, 0.5)]
)
def test_probability_of_the_worked_example(mid: float, tau: float, expected: float) -> None:
    assert acceptance(1.25, mid, tau) == pytest.approx(expected, abs=1e-6)


def test_window_of_the_worked_example() -> None:
    assert middle(DENSITIES, "median") == pytest.approx(2.819459)
    assert middle(DENSITIES, "midrange") == pytest.approx(2.121164)
    assert middle(DENSITIES, "mean") == pytest.approx(DENSITIES.sum() / 4)
    assert middle(DENSITIES, 0.5) == pytest.approx(2.819459)
    scale = robust_deviation(DENSITIES)
    assert scale == pytest.approx(0.583519, abs=1e-6)
    found = acceptance(DENSITIES, 2.819459, scale)
    assert found == pytest.approx([0.435641, 0.326362, 0.564359, 0.957632], abs=1e-6)


def test_extreme_densities_do_not_overflow() -> None:
    assert acceptance([1e6, -1e6], 1.0, 1e-3) == pytest.approx([np.exp(-20), 1], rel=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_any_acceptance_rate_can_be_asked_for(rate: float) -> None:
    x = np.random.default_rng(0).lognormal(size=512)
    for tau in (0.05, 1.0, 20.0):
        assert acceptance(x, threshold_for(x, rate, tau), tau).mean() == pytest.approx(rate, abs=1e-6)
