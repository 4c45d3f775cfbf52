import pytest

from lightning_nas.differentiable import GDAS, SNAS
from lightning_nas.differentiable.temperature import annealed
from lightning_nas.errors import NASError


@pytest.mark.parametrize(
    ("epoch", "linear", "cosine"),
    [(0, 1, 1), (10, 0.82, 0.914058), (25, 0.55, 0.55), (49, 0.118, 0.100888), (50, 0.1, 0.1)],
)
def test_temperatures_are_those_published(epoch: int, linear: float, cosine: float) -> None:
    """From 1 to 0.1 in 50 epochs (Ly-Manson et al., AutoML 2024, App. A.4, and released code)."""
    assert annealed(epoch / 50, 1.0, 0.1, "linear") == pytest.approx(linear, abs=5e-7)
    assert annealed(epoch / 50, 1.0, 0.1, "cosine") == pytest.approx(cosine, abs=5e-7)


def test_strategies_begin_and_end_where_they_were_published() -> None:
    snas, gdas = SNAS(), GDAS()
    assert (snas.temperature(0), gdas.temperature(0)) == (1, 10)
    assert snas.temperature(0.2) == pytest.approx(0.914058, abs=5e-7)
    assert gdas.temperature(0.5) == pytest.approx(5.05)


@pytest.mark.parametrize("strategy", [SNAS, GDAS])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_positive(strategy: type[SNAS | GDAS], value: float) -> None:
    with pytest.raises(NASError, match=r"strategy\.end_temperature is .*: valid are numbers above 0"):
        strategy(end_temperature=value)
    with pytest.raises(NASError, match=r"strategy\.start_temperature is"):
        strategy(start_temperature=value)
