"""Short runs that learn an architecture."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from toy_cells import ToyCells

from lightning_nas.differentiable import (
    DARTS,
    DSNAS,
    GDAS,
    SNAS,
    AlphaOptimizer,
    LearningStrategy,
)
from lightning_nas.spaces import (
    NASBench201,
    SearchSpace,
)

SPACE = ToyCells(layers=3, width=4)
CELLS = NASBench201(channels=2, cells=1)
FAST = AlphaOptimizer(lr=0.1)
STRATEGIES: dict[str, LearningStrategy] = {
    "darts1": DARTS(),
    "darts2": DARTS(order=2),
    "snas": SNAS(),
    "snas_held_out": SNAS(annealing="linear", alphas_from="held_out"),
    "dsnas": DSNAS(gap=0.1),
    "leave_one_out": DSNAS(estimator="leave_one_out", paths=3, gap=0.05, gap_of="logit"),
    "gdas": GDAS(),
}
EACH = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))


def learn(
    root: Path,
    strategy: LearningStrategy,
    *callbacks: Any,
    space: SearchSpace = SPACE,
    options: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **flags: Any,
) -> dict[str, Any]:
    """Learns, in 3 epochs of 2 batches where halves are needed and of 4 where they are not; returns ``learn.json``."""
    short_runs.trainer(root, *callbacks, **flags).learn(
        short_runs.supernet_module(space, **(options or {})),
        short_runs.digits(**(data or {})),
        strategy,
        FAST,
        None if ckpt_path is None else str(ckpt_path),
    )
    return dict(json.loads((root / "learn.json").read_text()))


def state(root: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return dict(torch.load(root / name, weights_only=True))


def vectors(found: dict[str, Any]) -> list[torch.Tensor]:
    """The alphas of a checkpoint."""
    return [value for name, value in found["state_dict"].items() if name.startswith("alphas.logits")]


def rows(root: Path, name: str) -> list[dict[str, str]]:
    with (root / name).open(newline="") as file:
        return list(csv.DictReader(file))
