"""The comparison of all methods, with a fraction of its budget on the embedded digits."""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from scipy import stats

from examples import compare_samplers
from examples.comparison.comparison import Comparison
from examples.comparison.plan import Method, Plan
from examples.comparison.report import difference, report
from examples.comparison.tables import spread, table_of
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "configs" / "compare").glob("*.yaml"))
QUICK = ROOT / compare_samplers.QUICK


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs name files of the repository


def short_plan(folder: Path, **changes: Any) -> Path:
    """Two of the quick methods with 12 steps."""
    plan = yaml.safe_load(QUICK.read_text()) | {"images": 600, "seeds": [1, 2]} | changes
    del plan["methods"]["two_paths"]
    plan["methods"]["density"]["config"]["sampler"]["init_args"]["warmup_steps"] = 3
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    return file


def finished(out: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """When every run was written, and what stands there."""
    files = sorted((out / "runs").glob("*.json"))
    return {file.name: (file.stat().st_mtime_ns, json.loads(file.read_text())) for file in files}


@pytest.mark.slow
def test_settings_are_chosen_on_one_seed_and_reported_on_others_and_nothing_is_trained_twice(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = ["--plan", str(short_plan(tmp_path)), "--out", str(out)]
    compare_samplers.main(command)
    first = finished(out)
    results = [result for _, result in first.values()]
    tried = [result for result in results if result["seed"] == 0]
    assert [result["method"] for result in tried] == ["density", "density"]
    best = max(tried, key=lambda result: float(result["kendall_tau"]))
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("uniform", "1"),
        ("uniform", "2"),
        ("density", "1"),
        ("density", "2"),
    ]
    assert {row["setting"] for row in rows if row["method"] == "density"} == {json.dumps(best["setting"])}
    assert len(results) == len(tried) + len(rows)
    text = (out / "results.md").read_text()
    for method in ("uniform", "density"):
        taus = [
            result["kendall_tau"] for result in results if result["method"] == method and result["seed"] > 0
        ]
        assert f"{np.mean(taus):+.3f} ± {np.std(taus, ddof=1):.3f}" in text
    assert all(result["peak_megabytes"] > 100 and result["cpu_seconds"] > 0 for result in results)
    assert all(1 < result["effective_sample_size"] <= 12 for result in results)
    assert (out / "tau_of_methods.png").exists()

    # One file less is a run that was interrupted: its folder is there.
    lost = next(name for name, (_, result) in first.items() if result["method"] == "uniform")
    (out / "runs" / lost).unlink()
    compare_samplers.main(command)
    second = finished(out)
    assert second.keys() == first.keys()
    assert [name for name in first if second[name][0] != first[name][0]] == [lost]
    assert second[lost][1]["kendall_tau"] == first[lost][1]["kendall_tau"]

    changed = ["--plan", str(short_plan(tmp_path, images=650)), "--out", str(out)]
    compare_samplers.main([*changed, "--methods", "[uniform]", "--seeds", "[1]"])
    third = finished(out)
    [new] = third.keys() - second.keys()
    assert (third[new][1]["method"], third[new][1]["seed"], third[new][1]["steps"]) == ("uniform", 1, 13)
    assert all(third[name][0] == second[name][0] for name in second)


@pytest.mark.slow
def test_a_run_that_fails_stops_the_comparison_in_a_sentence(tmp_path: Path) -> None:
    plan = short_plan(tmp_path, images=100)
    script = [sys.executable, "-m", "examples.compare_samplers", "--plan", str(plan), "--out", str(tmp_path)]
    ended = subprocess.run(
        [*script, "--methods", "[density]"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "sampler.warmup_steps is 3" in ended.stderr
    assert re.search(r"compare_samplers: density with .* seed 0 failed", ended.stderr)
    assert not list((tmp_path / "runs").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_every_setting_of_every_plan_is_understood(file: Path, tmp_path: Path) -> None:
    comparison = Comparison(Plan.read(file), tmp_path, {})
    for name, method in comparison.plan.methods.items():
        for setting in method.settings():
            printed = io.StringIO()
            arguments = comparison.run(name, setting, seed=1).arguments()
            with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
                lightning_nas(["fit", *arguments, "--print_config"])
            assert end.value.code in (0, None), (name, setting)
            config = yaml.safe_load(printed.getvalue())
            assert config["seed_everything"] == 1
            paths = config["sampler"]["init_args"].get("paths")
            assert name == "fair" or (paths or 1) == method.paths


def test_a_method_of_several_paths_has_so_many_times_fewer_steps(tmp_path: Path) -> None:
    comparison = Comparison(Plan.read(QUICK), tmp_path, {})
    single, double = (comparison.run(name, {}, 1) for name in ("uniform", "two_paths"))
    assert single.steps == 2 * double.steps == 3000 // 50


def test_a_run_is_another_one_when_its_settings_change_but_not_when_the_data_move(tmp_path: Path) -> None:
    run = Comparison(Plan.read(QUICK), tmp_path, {}).run("density", {"sampler.tau": 2}, 1)
    assert replace(run, places={"data.root": "elsewhere"}).file == run.file
    others = [
        replace(run, seed=2),
        replace(run, steps=run.steps + 1),
        replace(run, setting={"sampler.tau": 3}),
        replace(run, configs=[{}, *run.configs]),
    ]
    assert len({run.file, *(other.file for other in others)}) == 5


def test_settings_are_all_combinations() -> None:
    grid: dict[str, list[Any]] = {"a": [1, 2], "b": ["x", "y"]}
    assert Method({}, grid=grid).settings() == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert Method({}).settings() == [{}]


def test_the_difference_is_that_of_a_paired_t_test() -> None:
    mine, other = [0.3, 0.5, 0.45, 0.6], [0.2, 0.45, 0.5, 0.3]
    found = {seed: {"kendall_tau": tau} for seed, tau in enumerate(mine, start=1)}
    baseline = {seed: {"kendall_tau": tau} for seed, tau in enumerate(other, start=1)} | {
        9: {"kendall_tau": 0}
    }
    low, high = stats.ttest_rel(mine, other).confidence_interval(0.95)
    mean, half = difference(found, baseline).split(" ± ")
    assert float(mean) == pytest.approx((low + high) / 2, abs=5e-4)
    assert float(half) == pytest.approx((high - low) / 2, abs=5e-4)
    assert difference(baseline, baseline) == ""
    assert difference({1: found[1]}, baseline) == ""


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert spread([float("nan")], "+.2f") == "n/a"
    assert spread([0.5], "+.2f") == "+0.50"
    assert spread([0.5, 0.7], "+.2f") == "+0.60 ± 0.14"
    console = Console(record=True)
    report(Comparison(Plan.read(QUICK), tmp_path, {}), console)
    assert console.export_text() == "Nothing is finished yet.\n"


def test_tables_of_narrow_terminals_leave_nothing_out() -> None:
    names = ["method", "seeds", "tau", "P@top5", "top-1", "top-5", "top-10", "tau - uniform"]
    row = dict.fromkeys(names, "-10.99 ± 1.161") | {"method": "prototype_density (target_accept_rate 0.5)"}
    console = Console(record=True, width=80)
    console.print(table_of("Title", [row, row], names))
    cells = [line.split("│")[1:-1] for line in console.export_text().splitlines() if "│" in line]
    columns = ["".join(lines).replace(" ", "") for lines in zip(*cells, strict=True)]
    assert columns[0] == 2 * "prototype_density(target_accept_rate0.5)"
    assert columns[1:] == 7 * [2 * "-10.99±1.161"]


def test_a_setting_is_chosen_when_all_were_tried(tmp_path: Path) -> None:
    comparison = Comparison(Plan.read(QUICK), tmp_path, {})
    assert comparison.chosen("uniform") == {}
    low, high = comparison.tried("density")
    low.file.parent.mkdir(parents=True)
    low.file.write_text(json.dumps({"kendall_tau": None}))
    assert comparison.chosen("density") is None
    high.file.write_text(json.dumps({"kendall_tau": -0.2}))
    assert comparison.chosen("density") == high.setting


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "unifrom"}, "plan.baseline is 'unifrom': valid are uniform, density"),
        ({"seeds": [0, 1]}, "0 is for choosing settings alone"),
        ({"budget": 7}, "has not the keys of a plan.*budget"),
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(NASError, match=message):
        Plan.read(short_plan(tmp_path, **changes))


def test_wrong_arguments_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no such file"):
        compare_samplers.main(["--plan", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit, match="methods has fairr: valid are uniform, two_paths, density"):
        compare_samplers.main(["--quick", "--methods", "[fairr]"])
