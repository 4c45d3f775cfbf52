import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_nas.cli import main
from lightning_nas.spaces import NASBenchMacro

SMALL = ["--space", "NASBenchMacro", "--space.channels", "[2,2,4,4]", "--space.head_channels", "4"]
SHORT = ["--space.image_size", "8", "--networks", "10", "--rounds", "1"]


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-4)


def latency(*args: str) -> None:
    main(["latency", *SMALL, *SHORT, *args])


def test_networks_are_measured_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tables" / "cpu.json"
    latency("--batch", "2", "--precision", "bf16", "--channels-last", "--out", str(out))
    table: dict[str, Any] = json.loads(out.read_text())
    assert table["space"]["init_args"]["image_size"] == 8
    assert table["base"] + sum(max(value or 0 for value in values) for values in table["choices"]) > 0
    assert [len(values) for values in table["choices"]] == [3] * 8
    conditions = table["conditions"]
    assert conditions.pop("device_name")
    assert conditions == {
        "torch": torch.__version__,
        "device": "cpu",
        "threads": 1,
        "batch": 2,
        "precision": "bf16",
        "channels_last": True,
        "clock": "wall",
    }
    with (out.with_suffix(".csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    space = NASBenchMacro()
    assert all(space.is_valid(space.decode(row["arch"])) for row in rows)
    assert [row["held_out"] for row in rows] == ["0"] * table["measured"] + ["1"] * table["held_out"]
    assert table["held_out"] == 2
    assert all(float(row["measured_ms"]) > 0 for row in rows)
    errors = [
        abs(float(row["predicted_ms"]) / float(row["measured_ms"]) - 1)
        for row in rows
        if row["held_out"] == "1"
    ]
    assert table["mean_error"] == pytest.approx(sum(errors) / 2, rel=1e-3)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "(1 thread, batch 2, precision bf16, channels last)" in printed
    assert f"2 held out: Spearman {table['spearman']:.2f}, mean error {table['mean_error']:.1%}" in printed
    assert not out.with_suffix(".partial").exists()


def test_interrupted_the_same_command_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1, 5))

    def clock(_: tuple[int, ...]) -> float:
        for number in numbers:
            return float(number)
        raise KeyboardInterrupt

    out = tmp_path / "t.json"
    with monkeypatch.context() as patched:
        patched.setattr("lightning_nas.latency.timing.stopwatch", lambda *_: clock)
        with pytest.raises(SystemExit, match=r"t\.partial; the same command continues"):
            latency("--out", str(out))
    with pytest.raises(SystemExit, match="begun with seed 0, but now seed is 1"):
        latency("--out", str(out), "--seed", "1")
    assert not out.exists()
    times = itertools.count(5)
    monkeypatch.setattr("lightning_nas.latency.timing.stopwatch", lambda *_: lambda _: float(next(times)))
    latency("--out", str(out))
    with (out.with_suffix(".csv")).open(newline="") as file:
        measured = [float(row["measured_ms"]) for row in csv.DictReader(file)]
    assert measured == [1, 2, 3, 4, *range(5, 1 + len(measured))]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--networks", "4"], "networks is 4: valid are numbers from 5"),
        (["--rounds", "0"], "rounds is 0"),
        (["--threads", "0"], "threads is 0"),
        (["--device", "cuda"], "PyTorch finds no GPU here"),
        (["--clock", "process", "--threads", "2"], "it times one thread of the cpu"),
        (["--out", "t.txt"], "a table of latencies is a .json file"),
        (["--out", "there.json"], "exists: choose another"),
        (["--out", "file/t.json"], "nothing can be written"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("lightning_nas.latency.timing.stopwatch", lambda *_: pytest.fail("measured"))
    for name in ("there.json", "file"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=said):
        latency(*args)
    assert {file.name for file in tmp_path.iterdir()} == {"there.json", "file"}
