"""Searches that look at measured latencies."""

import json
from pathlib import Path
from typing import Any

import pytest
import short_runs
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.latency import Conditions, LatencyTable, select
from lightning_nas.search import NSGA2, Evolution, FeasibleSpace, Latency, SearchAlgorithm
from lightning_nas.spaces import MobileNetV2, SearchSpace

SPACE = Toy(layers=4, width=4)
FACTS = Conditions().facts
SMALL: dict[str, Any] = {"population_size": 8, "num_parents": 3, "num_mutations": 4, "num_crossovers": 4}


def milliseconds(path: tuple[int, ...]) -> float:
    return 1 + sum((0.0, 1.0, 2.5)[choice % 3] for choice in path)


def written(root: Path, space: SearchSpace = SPACE) -> str:
    selection = select(space, 60, seed=0)
    table = LatencyTable.fit(space, selection, [milliseconds(path) for path in selection.paths], FACTS)
    file = root / "latency.json"
    table.write(file)
    return str(file)


def search(
    root: Path, latency: Latency, algorithm: SearchAlgorithm
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    trainer = short_runs.trainer(root)
    data = short_runs.digits(val_size=100, eval_batch_size=50)
    trainer.search(short_runs.supernet_module(SPACE), data, algorithm=algorithm, latency=latency, seed=0)
    found = json.loads((root / "search" / "search.json").read_text())
    return found, short_runs.table(root / "search" / "search.csv")


def test_no_path_beyond_the_limit_is_scored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    latency = Latency(written(tmp_path), max=5.2, min=3)
    found, rows = search(tmp_path, latency, Evolution(generations=3, **SMALL))
    feasible = [path for path in SPACE if 3 <= milliseconds(path) <= 5.2]
    assert len(rows) == min(32, len(feasible)) > 20
    for row in rows:
        true = milliseconds(SPACE.decode(row["arch"]))
        assert 3 <= true <= 5.2
        assert float(row["latency"]) == pytest.approx(true, abs=1e-3)
    assert found["best"]["latency"] == pytest.approx(
        milliseconds(SPACE.decode(found["best"]["arch"])), abs=1e-3
    )
    [limit] = found["settings"]["limits"]
    assert limit.startswith("latency at least 3 ms and at most 5.2 ms (table ")
    assert FACTS["device_name"] in limit
    said = caplog.text
    assert (
        f"Latencies of {latency.table}: {FACTS['device_name']} (1 thread, batch 1, precision 32); 12 held"
        in said
    )
    assert f"latency {found['best']['latency']:.10g} ms" in said


def test_without_a_limit_latencies_are_shown_and_lowered(tmp_path: Path) -> None:
    nsga2 = NSGA2(cost="latency", population_size=10, generations=3)
    found, rows = search(tmp_path, Latency(written(tmp_path)), nsga2)
    assert found["settings"]["limits"][0].startswith("latency without a limit (")
    cheapest = min(float(row["latency"]) for row in rows)
    assert cheapest == pytest.approx(milliseconds((0, 0, 0, 0)), abs=1e-3)
    assert max(float(row["latency"]) for row in rows) > cheapest


def test_a_search_does_not_continue_with_another_table(tmp_path: Path) -> None:
    evolution = Evolution(generations=0, **SMALL)
    search(tmp_path, Latency(file := written(tmp_path)), evolution)
    loaded = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps(loaded | {"base": loaded["base"] + 1}))
    with pytest.raises(NASError, match=r"result of a search with limits .*without a limit \(table"):
        search(tmp_path, Latency(file), evolution)


@pytest.mark.parametrize("space", [SPACE, MobileNetV2()], ids=["enumerable", "large"])
def test_impossible_limits_name_the_nearest_latency(space: SearchSpace, tmp_path: Path) -> None:
    table = LatencyTable.read(Path(written(tmp_path, space)), space)
    with pytest.raises(
        NASError, match=r"no path (has|was found that has) latency at most 0\.5 ms: the nearest, "
    ) as refused:
        FeasibleSpace(space, [Latency("t.json", max=0.5).constraint(table)])
    fastest = table.base + sum(min(value or 0 for value in values) for values in table.choices)
    nearest = float(str(refused.value).removesuffix(" ms").rpartition(" ")[2])
    assert nearest == pytest.approx(fastest, rel=0.01)


def test_mistakes_are_told_before_anything_is_scored(tmp_path: Path) -> None:
    file = written(tmp_path)
    evolution = Evolution(generations=0, **SMALL)
    with pytest.raises(NASError, match="latency at least 5 ms and at most 4 ms is an empty window"):
        search(tmp_path, Latency(file, max=4, min=5), evolution)
    with pytest.raises(NASError, match="no such file"):
        search(tmp_path, Latency(str(tmp_path / "none.json")), evolution)
    assert not (tmp_path / "search").exists()
    with pytest.raises(NASError, match=r"latency\.table is not given"):
        Latency(max=4)
