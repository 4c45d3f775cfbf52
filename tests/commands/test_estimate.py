import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import exports
import numpy as np
import pytest
import torch

from lightning_nas import provenance
from lightning_nas.cli import main
from lightning_nas.spaces import NASBench201
from lightning_nas.spaces.cost import Cost

SMALL = ["--space", "NASBench201", "--space.channels", "2", "--space.cells", "1"]
DIGITS = ["--data", "DigitsDataModule", "--images", "8"]


def estimate(out: Path, *args: str) -> list[dict[str, str]]:
    main(["estimate", *args, "--out", str(out)])
    with (out / "estimates.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Ground truth in which every cell is worth its number."""
    space, file = NASBench201(), tmp_path / "table.csv"
    lines = (f"{space.encode(path)},{50 + space.index(path) / 1000}\n" for path in space)
    file.write_text("arch,made_up\n" + "".join(lines))
    return file


@pytest.mark.slow
def test_everything_is_told_of_every_architecture(
    tmp_path: Path, benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["synflow", "jacob_cov", "snip", "relu_logdet"]
    archs, space = tmp_path / "archs.txt", NASBench201()
    cells = [(3, 0, 2, 1, *ends) for ends in itertools.product(range(5), repeat=2)]
    archs.write_text("".join(f"{space.encode(path)}\n" for path in cells))
    rows = estimate(
        tmp_path / "out",
        *(
            *SMALL,
            *DIGITS,
            "--estimators",
            ",".join(names),
            "--paths",
            str(archs),
            "--benchmark",
            str(benchmark),
        ),
    )
    space = NASBench201(channels=2, cells=1, in_channels=1, image_size=8)
    assert len(rows) == 25
    for row in rows:
        path = space.decode(row["arch"])
        assert float(row["ground_truth"]) == pytest.approx(50 + space.index(path) / 1000)
        assert Cost(int(row["params"]), int(row["macs"])) == space.cost(path)
        wrong = [name for name in (*names, "vote") if not np.isfinite(float(row[name]))]
        assert row["degenerate"] == "; ".join(wrong)
    found = json.loads((tmp_path / "out" / "estimates.json").read_text())
    assert list(found["criteria"]) == [*names, "vote", "params", "macs"]
    assert set(found["criteria"]["snip"]) >= {
        "kendall_tau",
        "rank_diff_group_5",
        "tau_iso_mean",
        "complexity_bias",
    }
    assert found["mutations"]["snip"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*names, "vote", "params", "macs"))
    assert not (tmp_path / "out" / "estimates.partial").exists()
    assert list(provenance.read(tmp_path / "out")) == ["estimate"]


def test_what_could_not_be_told_is_named_and_counts_as_the_worst(tmp_path: Path, benchmark: Path) -> None:
    archs = tmp_path / "archs.txt"
    space = NASBench201()
    archs.write_text("".join(f"{space.encode(path)}\n" for path in [(0,) * 6, (3,) * 6, (2,) * 6, (1,) * 6]))
    out = tmp_path / "out"
    rows = estimate(
        out,
        *(
            *SMALL,
            *DIGITS,
            "--estimators",
            "relu_logdet",
            "--paths",
            str(archs),
            "--benchmark",
            str(benchmark),
        ),
    )
    assert [row["degenerate"] for row in rows] == ["relu_logdet", "", "", ""]
    assert rows[0]["relu_logdet"] == "-inf"
    criteria = json.loads((out / "estimates.json").read_text())["criteria"]["relu_logdet"]
    assert criteria["unscored"] == 1


def test_costs_alone_need_no_images(tmp_path: Path) -> None:
    rows = estimate(tmp_path / "out", *SMALL, "--estimators", "[]", "--paths", "5")
    assert list(rows[0]) == ["arch", "params", "macs", "degenerate"]
    assert not (tmp_path / "out" / "estimates.json").exists()


def test_options_of_estimators_and_classes_of_ones_own(tmp_path: Path) -> None:
    fisher = '[{"class_path": "lightning_nas.zeroshot.Fisher", "init_args": {"broadcast": true}}]'
    rows = estimate(tmp_path / "a", *SMALL, *DIGITS, "--estimators", fisher, "--paths", "2")
    assert "fisher(broadcast=True)" in rows[0]
    plain = estimate(tmp_path / "b", *SMALL, *DIGITS, "--estimators=fisher", "--paths", "2")
    assert [row["arch"] for row in plain] == [row["arch"] for row in rows]
    assert float(rows[0]["fisher(broadcast=True)"]) > float(plain[0]["fisher"])
    mine = estimate(
        tmp_path / "c", *SMALL, *DIGITS, "--estimators", "relu,lightning_nas.zeroshot.Snip", "--paths", "2"
    )
    assert {"relu", "snip"} <= set(mine[0])


def test_noise_in_place_of_images(tmp_path: Path) -> None:
    noise = ["--data", "NoiseDataModule", "--data.image_size", "8", "--images", "4"]
    rows = estimate(tmp_path / "out", *SMALL, *noise, "--estimators", "grad_norm", "--paths", "2")
    assert all(float(row["grad_norm"]) > 0 for row in rows)


@pytest.mark.slow
def test_weights_of_a_supernet_beside_its_scores(tmp_path: Path) -> None:
    run = tmp_path / "run"
    configs = ["-c", "configs/spaces/nasbench201_small.yaml", "-c", "configs/data/digits.yaml"]
    short = ["--trainer.max_epochs", "1", "--ranking.paths", "5"]
    main(["fit", *configs, *short, "--sampler", "UniformSampler", "--trainer.default_root_dir", str(run)])
    main(["validate", "-c", str(run / "config.yaml"), "--ckpt_path", "last"])
    checkpoint, ranking = str(run / "last.ckpt"), str(run / "ranking.csv")
    args = [
        "--ckpt_path",
        checkpoint,
        "-c",
        str(run / "config.yaml"),
        "--images",
        "8",
        "--estimators",
        "snip",
    ]
    rows = estimate(tmp_path / "out", *args, "--paths", ranking, "--ranking", ranking)
    with Path(ranking).open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert [row["arch"] for row in rows] == [row["arch"] for row in scored]
    assert [float(row["one-shot accuracy"]) for row in rows] == [float(row["accuracy"]) for row in scored]
    assert [float(row["one-shot -loss"]) for row in rows] == [-float(row["loss"]) for row in scored]


def test_interrupted_the_same_command_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = [*SMALL, *DIGITS, "--estimators", "synflow", "--paths", "6"]
    whole = estimate(tmp_path / "whole", *args)
    calls = []

    def interrupting(*_: object) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 1.0

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("lightning_nas.zeroshot.SynFlow.score", interrupting)
        with pytest.raises(SystemExit, match=r"estimates\.partial; the same command continues"):
            estimate(out, *args)
    with pytest.raises(SystemExit, match="begun with seeds"):
        estimate(out, *args, "--seeds", "[1]")
    rows = estimate(out, *args)
    assert [row["synflow"] for row in rows] == ["1.0"] * 3 + [row["synflow"] for row in whole[3:]]
    assert not (out / "estimates.partial").exists()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--estimators", "sinflow"],
            r"estimators has 'sinflow': valid are .*synflow.*, all, and class paths",
        ),
        (["--estimators", "synflow,synflow"], "estimators has synflow twice"),
        (["--estimators", "synflow", "--images", "0"], "images is 0: valid are numbers from 1"),
        (["--estimators", "jacob_cov", "--images", "1"], "jacob_cov is given 1 images, but needs at least 2"),
        (["--estimators", "snip", "--images", "5000"], "digits has only 300 training images"),
        (["--estimators", "snip", "--seeds", "[]"], "seeds is .*: valid is at least one number from 0"),
        (["--estimators", "snip", "--seeds", "[1, 1]"], r"seeds is \[1, 1\]: valid is .* each once"),
        (
            ["--estimators", "snip", "--selection_seed", "-1"],
            "selection_seed is -1: valid are numbers from 0",
        ),
        (
            ["--estimators", "snip", "--paths", "al"],
            "paths is 'al', but there is no such file: valid are 'all'",
        ),
        (["--estimators", "snip", "--paths", "0"], " paths is 0: valid are 'all'"),
        (
            ["--estimators", "estimator_cases.Params"],
            "estimators has one titled params, as another column is",
        ),
        (["--estimators", "snip", "--workers", "2", "--device", "cuda"], "device is cuda: valid is 1"),
        (["--estimators", "snip", "--experts", '["snop"]'], "experts has 'snop'"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(tmp_path: Path, args: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        estimate(tmp_path / "out", *SMALL, "--data", "DigitsDataModule", "--paths", "2", *args)
    assert not list(tmp_path.glob("out/*"))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="data is not given, but snip looks at images"):
        estimate(tmp_path, *SMALL, "--estimators", "snip")
    with pytest.raises(SystemExit, match="space is not given"):
        estimate(tmp_path, *DIGITS, "--estimators", "snip")
    transformer = ["--space", "AutoFormer", "--space.embed_dims", "[16,24]", "--space.heads", "[2]"]
    sizes = ["--space.depths", "[2]", "--space.head_dim", "8", "--space.patch_size", "2"]
    with pytest.raises(SystemExit, match="has no ReLU"):
        estimate(tmp_path, *transformer, *sizes, *DIGITS, "--estimators", "relu", "--paths", "2")


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"arch,made_up\n{NASBench201().encode((3,) * 6)},90\n")
    with pytest.raises(SystemExit, match=r"table\.csv"):
        estimate(tmp_path / "out", *SMALL, *DIGITS, "--estimators", "snip", "--benchmark", str(table))


def test_a_table_may_lack_what_is_not_asked_for(tmp_path: Path) -> None:
    space, table = NASBench201(), tmp_path / "table.csv"
    lines = [f"{space.encode((choice,) * 6)},{90 + choice}" for choice in (1, 2, 3)]
    table.write_text("arch,made_up\n" + "\n".join(lines))
    given = [*SMALL, "--estimators", "[]", "--paths", str(table), "--benchmark", str(table)]
    rows = estimate(tmp_path / "out", *given)
    assert [float(row["ground_truth"]) for row in rows] == [91, 92, 93]


@pytest.mark.parametrize("number", [1, 2])
def test_few_architectures_have_the_criteria_that_they_can_have(
    tmp_path: Path, benchmark: Path, number: int
) -> None:
    args = [*SMALL, *DIGITS, "--estimators", "synflow,estimator_cases.Nothing", "--benchmark", str(benchmark)]
    rows = estimate(tmp_path, *args, "--paths", str(number))
    assert [row["degenerate"] for row in rows] == ["nothing"] * number
    criteria = json.loads((tmp_path / "estimates.json").read_text())["criteria"]
    assert (criteria["synflow"]["kendall_tau"] is None) == (number == 1)
    assert criteria["nothing"]["kendall_tau"] is None
    assert (tmp_path / "best.png").exists()


def test_a_place_where_nothing_can_be_written_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("lightning_nas.zeroshot.SynFlow.score", None)
    with pytest.raises(
        SystemExit, match=r"out is .*file/out', where nothing can be written: Not a directory"
    ):
        estimate(tmp_path / "file" / "out", *SMALL, *DIGITS, "--estimators", "synflow", "--paths", "2")


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="device is cuda, but PyTorch finds no GPU here: valid is cpu"):
        estimate(tmp_path, *SMALL, *DIGITS, "--estimators", "synflow", "--device", "cuda")


def test_labels_of_another_meaning_are_refused(tmp_path: Path) -> None:
    space = NASBench201(channels=2, cells=1, in_channels=1, image_size=8)
    exports.write_supernet(tmp_path / "last.ckpt", space, classes=list("abcdefghij"))
    given = ["--ckpt_path", str(tmp_path / "last.ckpt"), "--estimators", "snip", "--paths", "1"]
    with pytest.raises(SystemExit, match="whose class 0 is 'a', but class 0 of data is '0'"):
        estimate(tmp_path / "out", *given, *DIGITS)
    noise = ["--data", "NoiseDataModule", "--data.image_size", "8", "--data.in_channels", "1"]
    assert estimate(tmp_path / "out", *given, *noise)  # whose labels mean nothing


def interrupted(out: Path, args: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a command before its first estimate."""

    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("lightning_nas.zeroshot.SynFlow.score", interrupt)
        with pytest.raises(SystemExit, match="the same command continues"):
            estimate(out, *args)


def test_what_changed_in_the_meantime_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, archs, out = NASBench201(), tmp_path / "archs.txt", tmp_path / "out"
    archs.write_text(space.encode((1,) * 6))
    args = [*SMALL, *DIGITS, "--estimators", "synflow", "--paths", str(archs)]
    interrupted(out, args, monkeypatch)
    with pytest.raises(
        SystemExit, match=r"begun with data digits, images .*, but now data is digits, images"
    ):
        estimate(out, *args, "--data.split_seed", "1")
    archs.write_text(space.encode((2,) * 6))
    with pytest.raises(SystemExit, match=r"begun with paths 1 paths .*, but now paths is 1 paths"):
        estimate(out, *args)


def test_weights_that_changed_in_the_meantime_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "last.ckpt"
    exports.write_supernet(file, NASBench201(channels=2, cells=1, in_channels=1, image_size=8))
    args = ["--ckpt_path", str(file), *DIGITS, "--estimators", "synflow", "--paths", "1"]
    interrupted(tmp_path / "out", args, monkeypatch)
    content = torch.load(file)
    torch.save(content | {"state_dict": {k: 2 * v for k, v in content["state_dict"].items()}}, file)
    with pytest.raises(SystemExit, match=r"begun with weights .*, but now weights is"):
        estimate(tmp_path / "out", *args)


def test_interrupted_while_it_draws_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = [*SMALL, "--estimators", "[]", "--paths", "3"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("lightning_nas.plots.best_architectures", interrupt)
        with pytest.raises(SystemExit, match="lightning-nas: Interrupted") as end:
            estimate(tmp_path, *args)
    assert end.value.code == 1
    assert len(estimate(tmp_path, *args)) == 3


def test_results_that_exist_are_not_replaced(tmp_path: Path) -> None:
    args = [*SMALL, "--estimators", "[]", "--paths", "3"]
    estimate(tmp_path, *args)
    before = (tmp_path / "estimates.csv").stat().st_mtime_ns
    with pytest.raises(SystemExit, match=r"out is .*, which holds estimates\.csv"):
        estimate(tmp_path, *args)
    assert (tmp_path / "estimates.csv").stat().st_mtime_ns == before
