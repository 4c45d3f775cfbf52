import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_nas.data.beton import ffcv_imports

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for path in (ROOT / "benchmarks").glob("*.py")
    if path.name not in ("measure.py", "nni_side.py", "table.py")
)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_quick_run(script: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if script.stem == "search":
        request.getfixturevalue("data_root")
    if script.stem == "data":
        with ffcv_imports():
            import ffcv  # noqa: F401
    file = tmp_path / "figures.json"
    # Several threads that wait for each other slow down many times over where tests run in parallel.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--quick", "--json", str(file)]
    table = subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    rows = json.loads(file.read_text())
    assert len(rows) >= 2
    for row in rows:
        assert row.keys() == {"name", "value", "unit"}
        assert isinstance(row["unit"], str)
        assert row["name"] in table
        assert row["value"] > 0 or "spearman" in row["name"]
        assert math.isfinite(row["value"])
    assert len({row["name"] for row in rows}) == len(rows)


def test_there_are_scripts_to_test() -> None:
    expected = {
        "data",
        "density",
        "distributed",
        "evaluation",
        "samplers",
        "search",
        "spaces",
        "training_step",
        "zeroshot",
    }
    assert expected <= {path.stem for path in SCRIPTS}
