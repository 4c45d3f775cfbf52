"""The dissection of one-shot scores, with a fraction of its budget on the embedded digits."""

import contextlib
import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from examples import dissect_estimators
from examples.dissection.answers import answer, restricted
from examples.dissection.dissection import Dissection
from examples.dissection.plan import Plan
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.ranking import ScoreTable, kendall_tau

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "configs" / "dissect").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs name files of the repository


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def column(table: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in table]


@pytest.mark.slow
def test_every_question_is_answered_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    command = ["--quick", "--seeds", "[1]", "--out", str(tmp_path)]
    dissect_estimators.main(command)
    table = rows(tmp_path / "results.csv")
    found = {(row["question"], row["case"]): row for row in table}
    assert list(found) == [
        ("supernet", "base"),
        ("supernet", "3 channels instead of 2"),
        ("trained on", "fewer digits"),
        ("ground truth", "cifar10"),
        ("ground truth", "cifar100"),
        ("best 25 %", "before"),
        ("best 25 %", "all trained on"),
        ("best 25 %", "these trained on"),
        ("best 100 %", "before"),
        ("best 100 %", "these trained on"),
        ("1 operation less", "base"),
        ("1 operation less", "trained without"),
        *(("validation batches", number) for number in "124"),
        *(("epoch", number) for number in "12"),
    ]
    [base] = (folder for folder in (tmp_path / "runs").glob("base-*") if folder.is_dir())
    ranking = rows(base / "ranking.csv")
    tau = kendall_tau(column(ranking, "accuracy"), column(ranking, "ground_truth"))
    for case in (("supernet", "base"), ("best 100 %", "before"), ("validation batches", "4"), ("epoch", "2")):
        assert float(found[case]["tau"]) == tau, case
    loss = kendall_tau([-value for value in column(ranking, "loss")], column(ranking, "ground_truth"))
    assert float(found["supernet", "base"]["tau_of_loss"]) == loss

    best = sorted(ranking, key=lambda row: -float(row["accuracy"]))[:5]
    assert (base / "keep_25.txt").read_text().split() == [row["arch"] for row in ranking if row in best]
    before = found["best 25 %", "before"]
    assert float(before["accuracy"]) == pytest.approx(np.mean(column(best, "accuracy")))
    assert {
        found["best 25 %", case]["paths"] for case in ("before", "all trained on", "these trained on")
    } == {"5"}

    scores = base / "scores"
    first, second = (column(rows(scores / f"epoch_000{epoch}.csv"), "accuracy") for epoch in (1, 2))
    assert float(found["epoch", "1"]["tau_to"]) == kendall_tau(first, second)
    one = column(rows(scores / "batches_0001.csv"), "accuracy")
    assert float(found["validation batches", "1"]["tau_to"]) == kendall_tau(one, column(ranking, "accuracy"))

    [fewer] = (folder for folder in (tmp_path / "runs").glob("fewer_operations-*") if folder.is_dir())
    kept = yaml.safe_load((fewer / "config.yaml").read_text())["model"]["space"]["init_args"]["allowed"]
    assert [len(choices) for choices in kept] == [4] * 6
    archs = [row["arch"] for row in rows(fewer / "ranking.csv")]
    assert [row["arch"] for row in rows(base / "fewer/ranking.csv")] == archs

    text = (tmp_path / "results.md").read_text()
    assert f"| supernet | base | 20 | {np.mean(column(ranking, 'accuracy')):.1f} | {tau:+.3f} |" in text
    assert text.count("| epoch |") == 3
    assert (tmp_path / "taus.png").exists()

    finished = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").rglob("*.json")}
    dissect_estimators.main(command)
    assert finished == {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").rglob("*.json")}
    assert rows(tmp_path / "results.csv") == table


@pytest.mark.slow
@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_every_setting_of_every_plan_is_understood(file: Path, tmp_path: Path) -> None:
    found = Dissection(
        Plan.read(file), tmp_path, {"data.root": "images"} if "cifar" in file.stem else {}, "table.csv"
    )
    runs = [found.base(1), *(found.model(name, 1) for name in found.plan.models)]
    for run in [*runs, *(found.on(name, 1) for name in found.plan.other_data)]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
            lightning_nas(["fit", *run.arguments(), "--print_config"])
        assert end.value.code in (0, None), run.name
        config = yaml.safe_load(printed.getvalue())
        assert (config["seed_everything"], config["ranking"]["benchmark"]) == (1, "table.csv")
    assert len({run.folder for run in runs}) == len(runs)


def table(scores: dict[str, float]) -> ScoreTable:
    accuracy = np.array(list(scores.values()))
    return ScoreTable(
        Path("x"), tuple(scores), {"accuracy": accuracy, "loss": -(accuracy**2)}, tuple(range(len(scores)))
    )


def test_an_answer_compares_on_the_paths_that_both_have() -> None:
    mine, other = table({"a": 1, "b": 2, "c": -3, "d": 4}), table({"d": 1, "x": 9, "b": 3, "a": 2})
    found = answer("question", "case", 7, mine, {"a": 10, "b": 30, "c": 20, "d": 40, "e": 0}, other)
    assert found[:5] == ("question", "case", 7, 4, 1.0)
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert found.tau_of_loss == pytest.approx((5 - 1) / 6)
    assert found.top10 == 25
    assert found.tau_to == pytest.approx((1 - 2) / 3)
    assert math.isnan(answer("question", "case", 7, mine, dict.fromkeys("abcd", 1.0), None).tau_to)
    assert restricted(mine, ["d", "a"]).columns["accuracy"].tolist() == [4, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"keep": [10, 50]}, "the last one must be 100"), ({"budget": 7}, "not the keys of a plan.*budget")],
)
def test_a_wrong_plan_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(PLANS[0].read_text()) | changes))
    with pytest.raises(NASError, match=message):
        Plan.read(file)


def test_what_is_not_given_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="root and benchmark are needed, or quick"):
        dissect_estimators.main(["--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="there is no such file"):
        dissect_estimators.main(["--plan", str(tmp_path / "none.yaml")])
