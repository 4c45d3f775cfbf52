"""Both experiments with a fraction of their budget."""

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
    module = importlib.import_module("gradient_variance")
    monkeypatch.setattr(module, "OPERATIONS", (3, 2, 1))
    return module


@pytest.mark.slow
def test_it_writes_a_row_per_supernet_and_two_figures(tmp_path: Path, example: ModuleType) -> None:
    space = NASBench201()
    table = "\n".join(f"{space.encode(path)},{50 + i % 41}" for i, path in enumerate(space))
    (tmp_path / "table.csv").write_text(f"arch,cifar10\n{table}\n")
    out = tmp_path / "out"
    example.main([str(tmp_path / "table.csv"), "--quick", "--epochs", "1", "--out", str(out)])
    with (out / "gradient_variance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["experiment"], row["operations"], row["batch_size"]) for row in rows]
    by_operations = [("operations", "2", "50"), ("operations", "3", "50")]
    assert found == [*by_operations, *(("batch_size", "3", size) for size in ("16", "50", "150"))]
    assert all(float(row["gradient_variance"]) > 0 for row in rows)
    assert all(-1 <= float(row["kendall_tau"]) <= 1 for row in rows)
    assert {path.name for path in out.glob("*.png")} == {"operations.png", "batch_size.png"}
    scored = next((out / "batch_size_3_50_0" / "scores").iterdir()).read_text().splitlines()
    assert len(scored) == 65
