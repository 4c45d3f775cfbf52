"""100 steps of two recipes have the losses that they always had.

To accept other ones, because training was changed on purpose: ``python tests/test_golden.py``.
"""

import csv
import json
import platform
from pathlib import Path

import pytest
import torch
import yaml

from lightning_nas.cli import main

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
STEPS = 100
SMALLER: dict[str, dict[str, object]] = {
    "nasbench201_calr_ms": {"model.space.channels": 4, "model.space.cells": 1},
    "pooling_density": {"model.space.channels": "[8,16,32]", "sampler.warmup_steps": 40},
}


def maker() -> dict[str, str]:
    """What decides the last bit of a sum."""
    capability = torch.backends.cpu.get_cpu_capability()
    with Path("/proc/cpuinfo").open() as file:
        models = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
    return {
        "torch": torch.__version__,
        "processor": " ".join([platform.machine(), capability, *sorted(models)]),
    }


def losses(recipe: str, root: Path) -> list[float]:
    """Those of all steps, on digits instead of the recipe's images."""
    config = yaml.safe_load((ROOT / "configs" / "recipes" / f"{recipe}.yaml").read_text())
    config["data"] = {
        "class_path": "DigitsDataModule",
        "init_args": {"train_size": 600, "val_size": 100, "batch_size": 32, "eval_batch_size": 100},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text(yaml.safe_dump(config))
    flags: dict[str, object] = {
        "trainer.max_epochs": 1000,
        "trainer.max_steps": STEPS,
        "trainer.limit_val_batches": 0,
        "trainer.log_every_n_steps": 1,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.default_root_dir": root,
        "seed_everything": 1,
    }
    words = ["fit", "-c", str(root / "recipe.yaml")]
    main(words + [f"--{key}={value}" for key, value in (flags | SMALLER[recipe]).items()])
    with (root / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SMALLER)
def test_losses_are_what_they_were(recipe: str, tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / f"{recipe}.json").read_text())
    found = losses(recipe, tmp_path)
    assert len(found) == STEPS
    if golden["made by"] == maker():
        assert found == golden["losses"]
    else:  # another processor or torch adds up in another order
        assert found[:20] == pytest.approx(golden["losses"][:20], rel=1e-3)


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    for name in SMALLER:
        with tempfile.TemporaryDirectory() as folder:
            content = {"made by": maker(), "losses": losses(name, Path(folder))}
            (GOLDEN / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
