"""Sums of what choices take: their fit, their file."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.latency import Conditions, LatencyTable, select
from lightning_nas.spaces import ListedSpace, NASBench1Shot1, Pooling, RestrictedSpace, SearchSpace

Floats = NDArray[np.float64]
SPACE = Toy(layers=4)
FACTS = Conditions().facts


def true_latency(path: tuple[int, ...]) -> float:
    """0.5 ms, and for every layer as many tenths of a millisecond as its number (from 1) times the choice."""
    return 0.5 + sum(0.1 * layer * choice for layer, choice in enumerate(path, 1))


def fitted(space: SearchSpace = SPACE, networks: int = 40) -> LatencyTable:
    selection = select(space, networks, seed=0)
    return LatencyTable.fit(space, selection, [true_latency(path) for path in selection.paths], FACTS)


def test_sums_are_recovered() -> None:
    table = fitted()
    assert table.base == pytest.approx(0.5, abs=1e-4)
    for layer, values in enumerate(table.choices, 1):
        assert values == pytest.approx((0, 0.1 * layer, 0.2 * layer), abs=1e-4)
    assert (table.measured, table.held_out) == (32, 8)
    assert table.spearman is not None
    assert table.spearman > 0.98
    assert table.mean_error < 1e-4
    for path in SPACE:
        assert table.predict(path) == pytest.approx(true_latency(path), abs=1e-4)


def test_noise_is_not_taken_for_choices() -> None:
    """With about as many values as networks, a fit that follows the noise is far worse than the ridge."""
    space = Toy(layers=20)
    rng = np.random.default_rng(0)
    selection = select(space, 60, seed=0)
    latencies = np.array([true_latency(path) + rng.normal(scale=3) for path in selection.paths])
    table = LatencyTable.fit(space, selection, latencies, FACTS)
    others = [space.sample(rng) for _ in range(300)]
    truth = np.array([true_latency(path) for path in others])
    predicted = np.array([table.predict(path) for path in others])

    def one_hot(paths: Sequence[tuple[int, ...]]) -> Floats:
        return np.column_stack([np.ones(len(paths)), np.eye(3)[np.array(paths)].reshape(len(paths), -1)])

    number = len(selection.fitted)
    exact, *_ = np.linalg.lstsq(one_hot(selection.fitted), latencies[:number], rcond=None)
    assert abs(predicted - truth).mean() < 0.7 * abs(one_hot(others) @ exact - truth).mean()


def test_the_error_is_a_share_of_what_was_measured() -> None:
    selection = select(SPACE, 40, seed=0)
    latencies = np.array([true_latency(path) for path in selection.paths])
    latencies[len(selection.fitted) :] *= 1.25
    assert LatencyTable.fit(SPACE, selection, latencies, FACTS).mean_error == pytest.approx(0.2, abs=1e-4)


def test_with_one_decision_every_choice_has_its_own_latency() -> None:
    space = Pooling(channels=(2, 4, 8))
    selection = select(space, 36, seed=0)
    latencies = [1 + 0.01 * path[0] ** 2 for path in selection.paths]
    table = LatencyTable.fit(space, selection, latencies, FACTS)
    assert [table.predict(path) for path in space] == pytest.approx(
        [1 + 0.01 * i**2 for i in range(36)], rel=1e-4
    )
    assert (table.measured, table.held_out) == (36, 7)


def test_equal_latencies_have_no_correlation(tmp_path: Path) -> None:
    selection = select(SPACE, 40, seed=0)
    table = LatencyTable.fit(SPACE, selection, [2.0] * 40, FACTS)
    assert table.spearman is None
    assert "Spearman undefined, mean error 0.0%" in table.agreement
    table.write(tmp_path / "t.json")
    assert LatencyTable.read(tmp_path / "t.json", SPACE) == table


def test_a_space_of_one_path_has_its_latency() -> None:
    space = ListedSpace(SPACE, ((1, 2, 0, 1),))
    assert fitted(space).predict((1, 2, 0, 1)) == pytest.approx(true_latency((1, 2, 0, 1)))


@pytest.mark.parametrize("space", [SPACE, NASBench1Shot1()], ids=["product", "graphs"])
def test_a_file_gives_the_same_table(space: SearchSpace, tmp_path: Path) -> None:
    table = fitted(space)
    table.write(tmp_path / "folder" / "t.json")
    again = LatencyTable.read(tmp_path / "folder" / "t.json", space)
    assert again == table
    assert again.source == table.source
    loaded = json.loads((tmp_path / "folder" / "t.json").read_text())
    assert loaded["unit"] == "ms"
    assert {"device_name", "torch", "threads", "batch", "precision"} <= loaded["conditions"].keys()


def test_a_part_of_a_space_takes_the_table_of_the_whole(tmp_path: Path) -> None:
    table, file = fitted(), tmp_path / "t.json"
    table.write(file)
    part = RestrictedSpace(SPACE, ((1, 2),) * 4)
    found = LatencyTable.read(file, ListedSpace(part, ((1, 2, 1, 2),)))
    assert found.predict((1, 2, 1, 2)) == table.predict((1, 2, 1, 2))
    fitted(part).write(file)
    assert LatencyTable.read(file, part).choices[0][0] is None
    with pytest.raises(
        NASError, match=r"was measured with class .*RestrictedSpace, but the space here has class .*Toy"
    ):
        LatencyTable.read(file, SPACE)


def test_the_table_of_another_space_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    fitted().write(file)
    with pytest.raises(
        NASError, match="was measured with image_size 8, but the space here has image_size 16"
    ):
        LatencyTable.read(file, Toy(layers=4, image_size=16))
    with pytest.raises(NASError, match=r"but the space here has class .*Pooling"):
        LatencyTable.read(file, Pooling())


def damaged(**changes: Any) -> str:
    return json.dumps({"format": 1, **dataclasses.asdict(fitted()), **changes})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "cannot be read"),
        ("[1]", "no table of format 1"),
        (damaged(format=2), "no table of format 1"),
        (damaged(choices=[[0, 1, 2]] * 3), "damaged"),
        (damaged(choices=[[0, 1, "x"]] * 4), "damaged"),
        ('{"format": 1}', "damaged"),
    ],
)
def test_a_file_that_is_no_table_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NASError, match=said):
        LatencyTable.read(file, SPACE)


def test_a_table_of_another_device_says_so() -> None:
    table = fitted()
    assert "here it would be" not in table.told
    other = dataclasses.replace(table, conditions={**FACTS, "device_name": "Abacus", "threads": 2})
    assert other.told.startswith("Abacus (2 threads, batch 1, precision 32); 8 held out: Spearman ")
    assert other.told.endswith(f"; here it would be {FACTS['device_name']}")
    assert other.source != table.source
    facts = Conditions(channels_last=True, clock="process").facts | {"device_name": "Abacus"}
    said = dataclasses.replace(table, conditions=facts).setting
    assert said == "Abacus (1 thread, batch 1, precision 32, channels last, process clock)"
