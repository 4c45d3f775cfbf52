import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from lightning_nas.errors import NASError
from lightning_nas.ranking.reliability import reliability


def test_spreads_of_a_small_table() -> None:
    found = reliability([[80, 82], [90, 90], [84, 88]])
    assert found.between_seeds == pytest.approx(math.sqrt((2 + 0 + 8) / 3))
    assert found.between_paths == pytest.approx(np.std([81, 90, 86], ddof=1))
    assert found.tau_of_single_seeds == pytest.approx(1.0)


def test_the_ceiling_is_what_a_perfect_scorer_reaches() -> None:
    """Simulated: true means, tables measured with seed noise, and the tau of the truth with their means."""
    rng = np.random.default_rng(0)
    ceilings, reached = [], []
    for _ in range(200):
        truth = rng.normal(0, 2.0, size=(60, 1))
        table = truth + rng.normal(0, 3.0, size=(60, 5))
        ceilings.append(reliability(table).tau_ceiling)
        reached.append(kendalltau(truth[:, 0], table.mean(1)).statistic)
    assert np.mean(ceilings) == pytest.approx(np.mean(reached), abs=0.02)


def test_pure_noise_has_no_ceiling_to_speak_of() -> None:
    rng = np.random.default_rng(1)
    assert np.median([reliability(rng.normal(size=(36, 5))).tau_ceiling for _ in range(50)]) < 0.25


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,)])
def test_tables_too_small_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(NASError, match="at least 2 paths and 2 seeds"):
        reliability(np.zeros(shape))
