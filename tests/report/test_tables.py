from pathlib import Path
from typing import Any

import report_runs

from lightning_nas.report import tables
from lightning_nas.report.comparison import methods
from lightning_nas.report.run import read_runs


def test_columns_of_numbers_are_known() -> None:
    rows = [
        ["a", "1,234", "0.5\n± 0.1", "2 of 4", "1"],
        ["b", "", "-0.500", "4", "x"],
        ["-", "1e-05", "3", "", "2"],
    ]
    assert tables.Table("", "abcde", rows).numeric == [False, True, True, True, False]
    assert tables.Table("", "abcde", rows, mixed=True).numeric == [False] * 5


def test_columns_without_a_cell_are_left_out() -> None:
    table = tables.of_rows("best", [{"a": 1, "b": None}, {"c": True, "a": 2.5}])
    assert (table.title, table.columns, table.rows) == ("best", ["a", "c"], [["1", ""], ["2.500", "true"]])


def test_the_summary_and_the_criteria_have_a_row_for_every_run(tmp_path: Path) -> None:
    first = report_runs.write(
        tmp_path / "a", report_runs.config(), [50, 61.5], {"ranking.json": report_runs.CRITERIA}
    )
    second = report_runs.write(tmp_path / "b", report_runs.config(7, "FairSampler"), [40])
    runs = read_runs([first, second])
    table = tables.summary(runs)
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "run": "a",
        "kind": "supernet",
        "space": "Pooling",
        "method": "UniformSampler",
        "data": "Digits",
        "seed": "0",
        "epochs": "2 of 4",
        "steps": "19",
        "best val/accuracy": "61.50",
        "last val/accuracy": "61.50",
    }
    assert [row[:4] for row in table.rows] == [
        ["a", "supernet", "Pooling", "UniformSampler"],
        ["b", "supernet", "Pooling", "FairSampler"],
    ]
    criteria = tables.criteria(runs)
    assert criteria.columns == ["run", "from", "n", "kendall_tau", "spearman"]
    assert criteria.rows == [["a", "validate", "3", "0.500", "0.750"]]


def test_spreads_have_the_decimals_of_their_mean(tmp_path: Path) -> None:
    runs = [
        report_runs.write(
            tmp_path / str(seed), report_runs.config(seed), [accuracy], {"ranking.json": {"kendall_tau": tau}}
        )
        for seed, (accuracy, tau) in enumerate([(50, 0.1), (60, 0.3)])
    ]
    table = tables.spreads(methods(read_runs(runs)))
    assert table.rows == [
        [
            "UniformSampler",
            "0, 1",
            "Pooling",
            "Digits",
            "1 of 4",
            "2",
            *["55.00\n± 7.07"] * 2,
            "0.200\n± 0.141",
        ]
    ]


def test_long_settings_are_shortened_and_runs_without_a_configuration_left_out(tmp_path: Path) -> None:
    long = report_runs.config(0)
    long["ranking"]["paths"] = "x" * 200
    estimates = {"settings": {"estimators": ["snip"]}}
    runs = read_runs(
        [
            report_runs.write(tmp_path / "long", long),
            report_runs.write(tmp_path / "short", report_runs.config(1)),
            report_runs.write(tmp_path / "zero", results={"estimates.json": estimates}),
        ]
    )
    table = tables.settings(runs)
    assert table.columns == ["setting", "long", "short"]
    assert table.rows == [
        ["seed_everything", "0", "1"],
        ["ranking.paths", "x" * 30 + "…" + "x" * 30, "all"],
    ]


def test_an_unknown_environment_is_said(tmp_path: Path) -> None:
    table = tables.machines(read_runs([report_runs.write(tmp_path / "a", accuracies=[1])]))
    assert (table.columns, table.rows) == (["runs", "python"], [["a", "not recorded"]])


def test_results_of_every_verb(tmp_path: Path) -> None:
    path = {"arch": "4-3-3", "score": 90.25, "macs": 1234}
    run = report_runs.write(
        tmp_path / "run",
        results={
            "search.json": {"best": path, "top": [path, {**path, "arch": "5-3-2"}]},
            "fast/search.json": {"top": [path]},
            "estimates.json": {
                "criteria": {"synflow": {"kendall_tau": 0.5}, "params": {"kendall_tau": None}}
            },
            "retrain.json": {"arch": "4-3-3", "test/accuracy": 91.0, "settings": {"steps": 3}},
            "learn.json": {"best": {"arch": "4-3-3", "params": 10}},
            "selection.json": {"leaves": [{"leaf": 0, "accuracy": 50.0}]},
        },
    )
    (run / "ranking.csv").write_text(
        "arch,accuracy,params\n"
        + "".join(f"{n}-3-3,{accuracy},7\n" for n, accuracy in enumerate([50, 80, "nan", 70, 60, 55, 40]))
    )
    [found] = read_runs([run])
    shown = {table.title: [table.columns, *table.rows] for table in tables.results(found)}
    ranked = [
        ["1-3-3", "80.00", "7"],
        ["3-3-3", "70.00", "7"],
        ["4-3-3", "60.00", "7"],
        ["5-3-3", "55.00", "7"],
        ["0-3-3", "50.00", "7"],
    ]
    assert shown == {
        "The 5 paths ranked best of 7": [["arch", "accuracy", "params"], *ranked],
        "The best of a search (search.json)": [
            ["arch", "score", "macs"],
            ["4-3-3", "90.25", "1,234"],
            ["5-3-2", "90.25", "1,234"],
        ],
        "The best of a search (fast/search.json)": [["arch", "score", "macs"], ["4-3-3", "90.25", "1,234"]],
        "Scores against the ground truth (estimates.json)": [
            ["score", "kendall_tau"],
            ["synflow", "0.500"],
            ["params", ""],
        ],
        "Trained alone (retrain.json)": [["arch", "test/accuracy"], ["4-3-3", "91.00"]],
        "The architecture learnt (learn.json)": [["arch", "params"], ["4-3-3", "10"]],
        "The leaves (selection.json)": [["leaf", "accuracy"], ["0", "50.00"]],
    }


def test_results_of_another_form_are_left_out(tmp_path: Path) -> None:
    strange: dict[str, dict[str, Any]] = {
        "search.json": {"top": 3},
        "learn.json": {},
        "rank.json": {"criteria": [1]},
        "estimates.json": {},
    }
    [run] = read_runs([report_runs.write(tmp_path / "run", results=strange)])
    assert tables.results(run) == []


def test_a_ground_truth_shows_the_best_and_until_then_its_progress(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    (run / "groundtruth_runs.csv").write_text("arch,seed,accuracy,seconds\na,0,1,2\nb,0,1,2\nc,0")
    [table] = tables.results(read_runs([run])[0])
    assert (table.columns, table.rows) == (["networks trained"], [["2"]])
    (run / "groundtruth.csv").write_text("arch,digits,digits_std\na,90,1\nb,92.5,1\n")
    [table] = tables.results(read_runs([run])[0])
    assert table.title == "Ground truth on digits: the 2 best of 2 paths"
    assert table.rows == [["b", "92.50"], ["a", "90.00"]]
