import numpy as np
import pytest
import torch
from torch import nn

from lightning_nas.random import Stream, generator, resolve_seed, torch_seeded


def test_known_values_never_change() -> None:
    """A change here breaks the promise that a seed gives the same paths in every version."""
    assert [int(generator(0, Stream.PATH, step).integers(1000)) for step in range(5)] == [
        312,
        102,
        233,
        521,
        398,
    ]


def test_draws_differ_by_seed_stream_and_counter() -> None:
    keys = [(0, Stream.PATH, 0), (1, Stream.PATH, 0), (0, Stream.ORDER, 0), (0, Stream.PATH, 1)]
    draws = [float(generator(*key).random()) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [float(generator(*key).random()) for key in keys]


def test_counters_are_not_run_together() -> None:
    assert generator(0, Stream.PATH, 1, 23).random() != generator(0, Stream.PATH, 12, 3).random()


def test_global_streams_are_left_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    generator(0, Stream.PATH, 0).random(100)
    with torch_seeded(1):
        torch.rand(100)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002


def test_torch_draws_from_a_seed() -> None:
    torch.rand(1)
    with torch_seeded(5):
        drawn = nn.Linear(3, 2).weight
    assert torch.equal(drawn, nn.init.kaiming_uniform_(torch.empty(2, 3), 5**0.5, generator=seeded(5)))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_streams_are_never_renumbered() -> None:
    names = "PATH ORDER AUGMENT SPLIT PROBE SUBSET NETWORK BAG ACCEPT KMEANS PROJECTION POPULATION IMPORTANCE CLUSTER COMPRESS SEARCH EXAMPLE TRICKS LATENCY NOISE GUMBEL SPLITTING LEAF FEASIBLE"
    assert {stream.name: int(stream) for stream in Stream} == {
        name: i for i, name in enumerate(names.split())
    }


def test_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert (resolve_seed(None), resolve_seed(3)) == (7, 3)
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert resolve_seed(None) == 0
