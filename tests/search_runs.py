"""Short searches with a supernet."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import short_runs
import torch
from toy_space import Toy

from lightning_nas.data import DigitsDataModule
from lightning_nas.module import SupernetModule
from lightning_nas.search import Evolution

SPACE = Toy(layers=4, width=4)
SMALL: dict[str, Any] = {"population_size": 8, "num_parents": 3, "num_mutations": 4, "num_crossovers": 4}


def evolution(generations: int = 3) -> Evolution:
    return Evolution(generations=generations, **SMALL)


def data(**options: Any) -> DigitsDataModule:
    return short_runs.digits(**{"val_size": 100, "eval_batch_size": 40, **options})


def search(
    root: Path, module: SupernetModule | None = None, *callbacks: Any, **options: Any
) -> dict[str, Any]:
    """What ``search.json`` says."""
    trainer = short_runs.trainer(root, *callbacks)
    trainer.search(module or short_runs.supernet_module(SPACE), data(), **{"seed": 0, **options})
    found: dict[str, Any] = json.loads((root / "search" / "search.json").read_text())
    return found


def rows(root: Path) -> list[dict[str, str]]:
    return short_runs.table(root / "search" / "search.csv")


def one_by_one(module: SupernetModule, archs: Sequence[str]) -> tuple[list[float], list[float]]:
    """Accuracy and loss as the slowest evaluation gives them."""
    loader, accuracies, losses = data().val_dataloader(), [], []
    module.eval()
    for arch in archs:
        with torch.no_grad():
            outputs = [(module(x, module.space.decode(arch)), y) for x, y in loader]
        logits, labels = torch.cat([o for o, _ in outputs]), torch.cat([y for _, y in outputs])
        accuracies.append(100 * (logits.argmax(1) == labels).double().mean().item())
        losses.append(torch.nn.functional.cross_entropy(logits, labels).item())
    return accuracies, losses
