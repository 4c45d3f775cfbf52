import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_nas import plots
from lightning_nas.cli import main
from lightning_nas.ranking import kendall_tau, ranking_metrics
from lightning_nas.ranking.benchmark import TableRow, TabularBenchmark, write_table
from lightning_nas.ranking.complexity import complexity_bias, convergence_correlation
from lightning_nas.ranking.mutation import mutation_bias, mutations
from lightning_nas.ranking.stability import stability
from lightning_nas.spaces import NASBench201, NASBenchMacro

SPACE = NASBenchMacro()
RANDOM = np.random.default_rng(0)
PATHS = [SPACE[i] for i in sorted(RANDOM.choice(3**8, 300, replace=False).tolist())]
ARCHS = [SPACE.encode(path) for path in PATHS]
PARAMS = np.array([SPACE.cost(path).params for path in PATHS], dtype=float)
MACS = np.array([SPACE.cost(path).macs for path in PATHS], dtype=float)
TRUTH = RANDOM.uniform(50, 93, 300).round(2)
COLUMNS = ("arch", "accuracy", "loss", "ground_truth", "params", "macs")


def write(path: Path, accuracy: Any, truth: Any = TRUTH) -> Path:
    path.parent.mkdir(exist_ok=True)
    rows = zip(ARCHS, accuracy, 5 - accuracy / 20, truth, PARAMS, MACS, strict=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def scores(seed: int) -> Any:
    return TRUTH / 2 + np.random.default_rng(seed).normal(size=300) * 8


def rank(*args: str | Path) -> None:
    main(["rank", *map(str, args)])


def printed(text: str) -> dict[str, list[str]]:
    """The numbers of every row of the table."""
    rows = (re.findall(r"[^\s│┃]+", line) for line in text.splitlines())
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def test_all_criteria_of_one_ranking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = scores(0)
    rank(write(tmp_path / "ranking.csv", accuracy), "--space", "NASBenchMacro", "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out/rank.json").read_text())
    assert list(report["criteria"]) == ["accuracy", "-loss", "params", "macs"]
    found = report["criteria"]["accuracy"]
    for name, value in ranking_metrics(accuracy, TRUTH).items():
        assert found[name] == pytest.approx(value)
    assert found["complexity_bias"] == complexity_bias(accuracy, TRUTH, PARAMS)
    assert found["complexity_convergence"] == convergence_correlation(accuracy, TRUTH, PARAMS)
    assert found["unscored"] == 0
    assert report["criteria"]["macs"]["kendall_tau"] == kendall_tau(MACS, TRUTH)
    assert report["criteria"]["-loss"]["kendall_tau"] == pytest.approx(found["kendall_tau"])
    bias = mutation_bias(accuracy, TRUTH, mutations(PATHS, SPACE.choice_names))
    row = report["mutations"]["accuracy"][0]
    assert (row["replaced"], row["by"]) == ("identity", "k3 e3")
    assert (row["pairs"], row["bias"]) == (bias.pairs[0, 1], bias.bias[0, 1])
    table = printed(capsys.readouterr().out)
    assert table["kendall_tau"] == [
        f"{report['criteria'][name]['kendall_tau']:.4f}" for name in report["criteria"]
    ]
    assert table["complexity_convergence"][1:] == ["-", "-", "-"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "rank.json",
        "score_vs_ground_truth.png",
        "rank_difference.png",
        "mutation_bias_accuracy.png",
        "mutation_bias_accuracy_largest_fifth.png",
        "mutation_bias_loss.png",
        "mutation_bias_loss_largest_fifth.png",
    }


def test_several_supernets_are_averaged_and_nan_is_null(tmp_path: Path) -> None:
    first, second = scores(0), scores(1)
    first[7] = math.nan
    files = [write(tmp_path / "first.csv", first), write(tmp_path / "second.csv", second)]
    rank(*files, "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out/rank.json").read_text())
    assert report["files"] == [str(file) for file in files]
    found = report["criteria"]["accuracy"]
    assert found["kendall_tau"] == kendall_tau((first + second) / 2, TRUTH)
    assert found["unscored"] == 1
    assert found["pearson"] is None
    assert report["mutations"] == {}


def test_another_checkpoint_tells_stability(tmp_path: Path) -> None:
    earlier, later = scores(0), scores(1)
    file = write(tmp_path / "ranking.csv", earlier, [""] * 300)
    other = write(tmp_path / "later.csv", later, [""] * 300)
    rank(file, "--against", other, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out/rank.json").read_text())["criteria"]["accuracy"]
    assert found == stability(earlier, later)


def test_ground_truth_comes_from_a_table(tmp_path: Path) -> None:
    truth = TRUTH[::-1]
    rows = [TableRow(arch, value, 0, 1, 2) for arch, value in zip(ARCHS, truth, strict=True)]
    write_table(tmp_path / "table.csv", "cifar10", rows)
    file = write(tmp_path / "ranking.csv", scores(0))
    rank(file, "--benchmark", tmp_path / "table.csv", "--out", tmp_path)
    found = json.loads((tmp_path / "rank.json").read_text())["criteria"]["accuracy"]
    assert found["kendall_tau"] == kendall_tau(scores(0), truth)


def test_scores_over_epochs_are_drawn(tmp_path: Path) -> None:
    file = write(tmp_path / "ranking.csv", scores(0))
    for epoch in (2, 10):
        write(tmp_path / f"scores/epoch_{epoch:03d}.csv", scores(epoch))
    rank(file, "--epochs", tmp_path / "scores", "--out", tmp_path / "out")
    for name in ("tau_over_epochs", "accuracy_over_epochs", "stability_over_epochs"):
        assert (tmp_path / f"out/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_epochs_may_score_a_part_of_the_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third path, backwards: tau is that of these alone."""
    file = write(tmp_path / "ranking.csv", scores(0))
    (tmp_path / "scores").mkdir()
    for epoch in (2, 10):
        lines = write(tmp_path / "all.csv", scores(epoch)).read_text().splitlines()
        (tmp_path / f"scores/epoch_{epoch:03d}.csv").write_text("\n".join([lines[0], *lines[:0:-3]]))
    drawn: dict[str, Any] = {}
    original = plots.tau_over_epochs

    def draw(epochs: Any, taus: Any) -> Any:
        drawn.update(taus)
        return original(epochs, taus)

    monkeypatch.setattr(plots, "tau_over_epochs", draw)
    rank(file, "--epochs", tmp_path / "scores", "--out", tmp_path / "out")
    assert drawn["accuracy"] == [kendall_tau(scores(epoch)[::-3], TRUTH[::-3]) for epoch in (2, 10)]


def test_fewer_validation_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last file is that of all batches, whatever its name sorts like."""
    file = write(tmp_path / "ranking.csv", scores(0), [""] * 300)
    for batches in (1, 2, 10):
        write(tmp_path / f"scores/batches_{batches}.csv", scores(batches))
    write(tmp_path / "scores/epoch_0001.csv", scores(9))
    rank(file, "--batches", tmp_path / "scores")
    assert printed(capsys.readouterr().out)["2"] == 2 * [f"{kendall_tau(scores(2), scores(10)):.4f}"]
    file = write(tmp_path / "ranking.csv", scores(0))
    rank(file, "--batches", tmp_path / "scores", "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out/rank.json").read_text())["batches"]
    assert list(found) == ["1", "2", "10"]
    for batches, criteria in found.items():
        accuracy = scores(int(batches))
        for name in ("accuracy", "-loss"):  # the losses are linear in the accuracies
            assert criteria[f"tau {name}"] == pytest.approx(kendall_tau(accuracy, TRUTH))
            assert criteria[f"p_at_top_5 {name}"] == ranking_metrics(accuracy, TRUTH)["p_at_top_5"]
            assert criteria[f"tau_to_all {name}"] == pytest.approx(kendall_tau(accuracy, scores(10)))
    assert (tmp_path / "out/tau_over_batches.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_parameters_of_the_whole_nasbench201(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, file = NASBench201(), data_root / "benchmarks/nasbench201.csv"
    archs = TabularBenchmark.read(file).archs
    ranking = tmp_path / "ranking.csv"
    ranking.write_text("arch,accuracy\n" + "".join(f"{arch},{i % 97}\n" for i, arch in enumerate(archs)))
    rank(ranking, "--space", "NASBench201", "--benchmark", file, "--dataset", "cifar100")
    table = printed(capsys.readouterr().out)
    assert table["n"] == ["15,625"] * 3
    assert table["kendall_tau"][1:] == ["0.5529"] * 2
    assert table["tau_chunks_released"][1:] == ["0.6336"] * 2
    assert table["iso_classes"] == ["4,930"] * 3
    assert space.size == 15_625


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "has no ground truth to compare with: give --benchmark"),
        (["--epochs", "."], "out is not given"),
        (["--epochs", ".", "--against", "ranking.csv", "--out", "out"], "holds no scores of epochs"),
        (["--against", "none.csv"], "ranking none.csv does not exist"),
        (
            ["--space", "NASBench201"],
            "ranking.csv line 2 column 'arch': architecture '.*' does not name the six",
        ),
        (
            ["--benchmark", "table.csv"],
            "ranking.csv line 3 ranks architecture '.*', which table.csv does not have",
        ),
        (["other.csv", "--space", "NASBenchMacro"], "ranking other.csv does not exist"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ranking.csv", scores(0), [""] * 300)
    write_table(tmp_path / "table.csv", "cifar10", [TableRow(ARCHS[0], 90, 0, 1, 2)])
    with pytest.raises(SystemExit, match=message):
        rank("ranking.csv", *args)


def test_a_part_of_nasbench201_is_ranked_without_the_published_list(
    tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = NASBench201()
    lines = ["arch,accuracy,loss,ground_truth,params,macs"]
    for number in range(9000, 9200):
        cost = space.cost(space[number])
        lines.append(f"{space.encode(space[number])},{50 + number % 17},1.5,,{cost.params},{cost.macs}")
    (tmp_path / "ranking.csv").write_text("\n".join(lines) + "\n")
    table = str(data_root / "benchmarks" / "nasbench201.csv")
    main(["rank", str(tmp_path / "ranking.csv"), "--benchmark", table, "--dataset", "cifar10"])
    printed = capsys.readouterr().out
    assert "kendall_tau" in printed
    assert "tau_chunks_released" not in printed
