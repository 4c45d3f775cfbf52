from pathlib import Path

import numpy as np
import pytest
from ranking_examples import SCORES, TRUTH

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark, kendall_tau
from lightning_nas.ranking.chunks import chunk_sample, released_sample
from lightning_nas.ranking.metrics import Floats
from lightning_nas.spaces import NASBench201


def test_eight_paths_by_hand() -> None:
    by_count, by_width = chunk_sample(TRUTH, 4), chunk_sample(TRUTH, 4, "equal_width")
    assert by_count.tolist() == [3, 1, 0, 2]
    assert by_width.tolist() == [5, 1, 4, 2]
    scores, truth = np.array(SCORES), np.array(TRUTH)
    assert kendall_tau(scores[by_count], truth[by_count]) == pytest.approx(1)
    assert kendall_tau(scores[by_width], truth[by_width]) == pytest.approx(0.912871, abs=1e-6)


def test_borders_belong_to_the_lower_interval_and_empty_ones_give_none() -> None:
    # Intervals of width 1 from 0 to 4; the best of the second lies on its border, and the third is empty.
    assert chunk_sample([4, 0, 2, 1.5, 1], 4, "equal_width").tolist() == [4, 2, 0]
    assert chunk_sample([0, 0.5, 2.0001, 4], 4, "equal_width").tolist() == [1, 2, 3]


def test_more_chunks_than_paths_take_all() -> None:
    assert chunk_sample([3, 1, 2], 400).tolist() == [1, 2, 0]
    assert chunk_sample([5, 5, 5], 400, "equal_width").tolist() == [0]
    assert chunk_sample([], 400, "equal_width").tolist() == chunk_sample([], 400).tolist() == []


def test_every_chunk_has_the_best_of_its_paths() -> None:
    truth = np.random.default_rng(0).integers(0, 50, 203).astype(float)
    parts = np.array_split(sorted(range(203), key=lambda i: (truth[i], i)), 10)
    expected = [min(part, key=lambda i: (-truth[i], i)) for part in parts]
    assert chunk_sample(truth, 10).tolist() == expected


@pytest.fixture(scope="module")
def params() -> Floats:
    space = NASBench201()
    return np.array([space.cost(path).params for path in space], dtype=np.float64)


def test_published_lists_of_nasbench201(data_root: Path, params: Floats) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks/nasbench201.csv")
    truth = {name: np.array(list(table.column(name).values())) for name in table.datasets}
    released = released_sample(truth["imagenet16_120"])
    assert len(released) == 327
    # Those of the list are exact; the others were computed with published parameters, of which some are wrong.
    for name, of_released, of_equal_count in (
        ("cifar10", 0.6366, 0.5427),
        ("cifar100", 0.6336, 0.5662),
        ("imagenet16_120", 0.5842, 0.5445),
    ):
        own = chunk_sample(truth[name])
        assert len(own) == 400
        assert kendall_tau(params[released], truth[name][released]) == pytest.approx(of_released, abs=5e-5)
        assert kendall_tau(params[own], truth[name][own]) == pytest.approx(of_equal_count, abs=3e-4)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NASError, match="chunks is 0"):
        chunk_sample([1, 2], 0)
    with pytest.raises(NASError, match="ground truth of path 0 is nan"):
        chunk_sample([np.nan, 2])
