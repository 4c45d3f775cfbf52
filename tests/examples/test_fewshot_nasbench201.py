"""The grid with a fraction of its budget."""

import csv
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from lightning_nas.spaces import NASBench201

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "examples")
    module = importlib.import_module("fewshot_nasbench201")
    # A depth of 1 instead of 3, and 40 paths.
    monkeypatch.setattr(module, "DEPTH", 1)
    monkeypatch.setattr(module, "LEAVES", 2)
    monkeypatch.setattr(module, "ALLOWED", ((0, 1, 2, 3, 4), (1, 3), (1, 3), (1,), (2,), (1, 3)))
    return module


@pytest.mark.slow
def test_it_compares_four_methods_and_continues(
    tmp_path: Path, example: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = NASBench201()
    table = "\n".join(f"{space.encode(path)},{50 + i % 41}" for i, path in enumerate(space))
    (tmp_path / "table.csv").write_text(f"arch,cifar10\n{table}\n")
    out = tmp_path / "out"
    options = [str(tmp_path / "table.csv"), "--quick", "--seeds", "1", "--out", str(out)]
    example.main(options)
    with (out / "fewshot.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["one supernet", "gradient matching", "parameters", "random"]
    assert all(-1 <= float(row[tau]) <= 1 for row in rows for tau in ("tau", "tau_of_loss"))
    assert (out / "fewshot.png").is_file()
    for method in ("one_supernet", "parameters"):
        assert len((out / f"{method}-0" / "ranking.csv").read_text().splitlines()) == 41
    assert "Parameters alone: tau" in capsys.readouterr().out
    monkeypatch.setattr(example, "data_of", None)  # nothing is trained again
    example.main(options)
