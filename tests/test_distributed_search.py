"""Two ranks search as one process does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import short_runs
from gloo_workers import GlooPair, rank, ranks, strategy
from toy_space import Toy

from lightning_nas.search import Boltzmann, Evolution, RandomSearch, SearchAlgorithm, Shifting
from lightning_nas.spaces import NormPolicy, Pooling, SearchSpace
from lightning_nas.spaces.operations import SHARED

pytestmark = pytest.mark.slow

SPACE = Toy(layers=4, width=4)


def evolution() -> Evolution:
    return Evolution(population_size=8, generations=3, num_parents=3, num_mutations=4, num_crossovers=4)


def boltzmann() -> Boltzmann:
    return Boltzmann(evaluations=12, num_rescored=5)


def searched(
    root: Path,
    make: Callable[[], SearchAlgorithm],
    shifting: Shifting | None,
    space: SearchSpace = SPACE,
    norm: NormPolicy = SHARED,
) -> dict[str, Any]:
    """Every rank has a folder of its own, so that it shows who writes."""
    own = root / f"rank {rank()} of {ranks()}"
    module = short_runs.supernet_module(space, norm=norm)
    data = short_runs.digits(batch_size=50 // ranks(), eval_batch_size=40)
    short_runs.trainer(own, **strategy()).search(module, data, algorithm=make(), shifting=shifting, seed=0)
    return {"wrote": sorted(path.name for path in (own / "search").iterdir()), "weights": module.state_dict()}


@pytest.mark.parametrize(
    ("make", "shifting"),
    [(evolution, None), (boltzmann, None), (evolution, Shifting(steps=1, lr=0.05))],
    ids=["evolution", "boltzmann", "shifting"],
)
def test_two_ranks_find_what_one_finds(
    make: Callable[[], SearchAlgorithm], shifting: Shifting | None, pair: GlooPair, tmp_path: Path
) -> None:
    alone = searched(tmp_path, make, shifting)
    first, second = pair.run(searched, tmp_path, make, shifting)
    assert first["wrote"] == alone["wrote"]
    assert second["wrote"] == []
    short_runs.assert_same(first["weights"], second["weights"])
    tables = [
        short_runs.table(tmp_path / name / "search" / "search.csv") for name in ("rank 0 of 1", "rank 0 of 2")
    ]
    for before, now in zip(*tables, strict=True):
        assert before["arch"] == now["arch"]
        # The gradients of two halves of a batch are added in another order than those of the whole.
        assert float(before["score"]) == pytest.approx(
            float(now["score"]), abs=0 if shifting is None else 1e-9
        )


def test_shifting_leaves_all_ranks_with_one_state_of_batch_norm(pair: GlooPair, tmp_path: Path) -> None:
    """Every rank trains on other images, and scores other paths with running statistics."""
    space = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
    norm = NormPolicy(running_stats=True)
    first, second = pair.run(searched, tmp_path, partial(RandomSearch, 4), Shifting(steps=2), space, norm)
    assert any(name.endswith("running_mean") for name in first["weights"])
    short_runs.assert_same(first["weights"], second["weights"])
