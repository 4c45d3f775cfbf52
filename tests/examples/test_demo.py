import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The demonstration with a fraction of its budget, in a folder of its own."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    short = ["--trainer.max_epochs", "4"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "RUNS", tmp_path)
    monkeypatch.setattr(module, "SEEDS", range(2))
    monkeypatch.setattr(module, "SAMPLERS", {name: more + short for name, more in module.SAMPLERS.items()})
    return module


@pytest.mark.slow
def test_the_demo_writes_what_it_prints(demo: ModuleType, tmp_path: Path) -> None:
    for sampler in demo.SAMPLERS:
        for seed in demo.SEEDS:
            demo.train(sampler, seed)
    console = Console(record=True, width=140)
    demo.report(console)
    printed = console.export_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    for sampler in ("uniform", "density"):
        for seed in range(2):
            report = json.loads((tmp_path / sampler / f"seed{seed}" / "ranking.json").read_text())
            assert summary[sampler]["kendall_tau"][seed] == report["kendall_tau"]
        assert f"{np.mean(summary[sampler]['kendall_tau']):+.2f}" in printed
        assert demo.visits(sampler).sum() == 2 * 24
    assert summary["uniform"]["kendall_tau"] != summary["density"]["kendall_tau"]
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"{name}.png"
        for name in ("score_vs_ground_truth", "sorted_by_density", "sampling_frequency", "summary")
    }
    trained = (tmp_path / "uniform/seed0/last.ckpt").stat().st_mtime_ns
    demo.train("uniform", 0)
    assert (tmp_path / "uniform/seed0/last.ckpt").stat().st_mtime_ns == trained


@pytest.mark.parametrize(
    ("uniform", "density", "words"),
    [
        ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], "Trust the density-aware supernet"),
        ([0.5, 0.6, 0.7], [0.1, 0.2, 0.31], "Trust the uniform supernet"),
        # 2.5 standard errors would be enough for many seeds, but not for three.
        ([0.1, 0.2, 0.3], [0.15, 0.25, 0.5], "No difference that 3 seeds can show"),
        ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], "No difference that 3 seeds can show"),
    ],
)
def test_the_verdict_follows_the_seeds(
    demo: ModuleType, uniform: list[float], density: list[float], words: str
) -> None:
    assert words in demo.verdict(uniform, density)
