"""The grid of splits and algorithms, with a fraction of its budget on the embedded digits."""

import contextlib
import csv
import io
import itertools
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from examples import fewshot_grid
from examples.plan_file import Config
from examples.splitting.plan import Plan
from examples.splitting.report import best, chosen, report
from examples.splitting.searches import Cell, Found, Grid
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.spaces import NASBench201

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "configs" / "fewshot").glob("*.yaml"))
QUICK = ROOT / fewshot_grid.QUICK


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs name files of the repository


@pytest.fixture
def benchmark(tmp_path: Path) -> str:
    """A made-up table."""
    space = NASBench201()
    rows = "\n".join(f"{space.encode(path)},{50 + i % 41}" for i, path in enumerate(space))
    file = tmp_path / "table.csv"
    file.write_text(f"arch,cifar10\n{rows}\n")
    return str(file)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.slow
def test_every_leaf_is_searched_and_nothing_twice(tmp_path: Path, benchmark: str) -> None:
    plan = yaml.safe_load(QUICK.read_text())
    del plan["algorithms"]["DSNAS"], plan["metrics"]["params"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    command = [
        "--plan",
        str(tmp_path / "plan.yaml"),
        "--benchmark",
        benchmark,
        "--out",
        str(tmp_path / "out"),
    ]
    fewshot_grid.main(command)
    found = rows(tmp_path / "out" / "grid.csv")
    assert [(row["split"], row["leaf"]) for row in found] == [
        ("none", "0"),
        ("restarts", "0"),
        ("restarts", "1"),
        ("random", "0"),
        ("random", "1"),
    ]
    assert found[0]["arch"] == found[1]["arch"]  # the same seed
    # The leaves of the random split are those of its tree.
    grid = Grid(Plan.read(tmp_path / "plan.yaml"), tmp_path / "out", {})
    space = NASBench201()
    for row in found[3:]:
        cell = Cell("digits", "random", "DARTS 1", 0, int(row["leaf"]))
        leaf = yaml.safe_load((grid.tree(cell) / f"leaf-{cell.leaf}.yaml").read_text())
        allowed = leaf["model"]["space"]["init_args"]["allowed"]
        assert all(choice in kept for choice, kept in zip(space.decode(row["arch"]), allowed, strict=True))
    text = (tmp_path / "out" / "grid.md").read_text()
    assert "| random |" in text
    assert (tmp_path / "out" / "digits.png").is_file()
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("result.json")}
    fewshot_grid.main(command)
    assert written == {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("result.json")}


def test_the_best_leaf_is_not_always_the_chosen_one() -> None:
    leaves = [Found("a", 20.0, 90.0, 1.0), Found("b", 30.0, 80.0, 1.0), Found("c", 30.0, 70.0, 1.0)]
    assert best(leaves) == 90
    assert chosen(leaves) == 80


def test_the_report_leaves_out_what_is_not_finished(tmp_path: Path) -> None:
    grid = Grid(Plan.read(QUICK), tmp_path, {})
    done = [cell for cell in grid.cells() if cell.split in ("none", "random") and cell.leaf == 0]
    for cell in done:
        folder = grid.folder(cell)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(
            '{"arch": "a", "accuracy": 1, "ground_truth": 71.5, "seconds": 60}'
        )
    printed = io.StringIO()
    report(grid, Console(file=printed))
    lines = (tmp_path / "grid.md").read_text().splitlines()
    assert "| none | 71.50 / 71.50 | 71.50 / 71.50 | 2 |" in lines
    assert "| random | n/a / n/a | n/a / n/a | 2 |" in lines
    assert len(rows(tmp_path / "grid.csv")) == len(done) == 4


def test_what_changes_a_search_gives_it_another_folder(tmp_path: Path) -> None:
    plan, cell = Plan.read(QUICK), Cell("digits", "random", "DSNAS", 0, 0)
    before = Grid(plan, tmp_path, {}).folder(cell)
    assert Grid(plan, tmp_path, {"digits": {"data.root": "elsewhere"}}).folder(cell) == before
    plan.algorithms["DSNAS"] = {"strategy": {"class_path": "DSNAS", "init_args": {"gap": 0.1}}}
    changed = Grid(plan, tmp_path, {}).folder(cell)
    assert changed != before
    plan.depth = 2
    assert Grid(plan, tmp_path, {}).folder(cell) != changed
    # Searches without a split know nothing of its depth.
    whole = cell._replace(split="none", algorithm="DARTS 1")
    assert Grid(plan, tmp_path, {}).folder(whole) == Grid(Plan.read(QUICK), tmp_path, {}).folder(whole)


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_every_command_of_every_plan_is_understood(file: Path, tmp_path: Path) -> None:
    plan = Plan.read(file)
    grid = Grid(plan, tmp_path, {name: {} for name in plan.datasets})

    def understood(verb: str, cell: Cell, config: Config) -> None:
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
            lightning_nas([*grid.words(verb, tmp_path / "run", cell, config), "--print_config"])
        assert end.value.code in (0, None)

    [*algorithms], [*metrics] = plan.algorithms.items(), plan.metrics.items()
    for dataset, (name, config) in itertools.product(plan.datasets, algorithms):
        understood("learn", Cell(dataset, "none", name, 0, 0), config)
    for name, config in metrics:
        understood("split", Cell(next(iter(plan.datasets)), name, algorithms[0][0], 0, 0), {"metric": config})


def test_the_published_plan_has_11_splits_4_algorithms_and_3_datasets() -> None:
    for name, datasets in (("published", 3), ("reduced", 1)):
        plan = Plan.read(ROOT / "configs" / "fewshot" / f"nasbench201_{name}.yaml")
        assert len(set(plan.splits) - {"restarts"}) == 11
        assert len(plan.algorithms) == 4
        assert len(plan.datasets) == datasets


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="metrics has none, which searches the whole space"):
        Plan("", {}, [0], {}, {"none": {}}, {}, 1)
    with pytest.raises(SystemExit, match="datasets has mnist: valid are digits"):
        fewshot_grid.main(["--quick", "--benchmark", "table.csv", "--datasets", "[mnist]"])
    with pytest.raises(SystemExit, match="roots has mnist: valid are digits"):
        fewshot_grid.main(["--quick", "--benchmark", "table.csv", "--roots.mnist", "images"])
    (tmp_path / "plan.yaml").write_text("title: nothing else\n")
    with pytest.raises(SystemExit, match="has not the keys of a plan"):
        fewshot_grid.main(["--plan", str(tmp_path / "plan.yaml"), "--benchmark", "table.csv"])
