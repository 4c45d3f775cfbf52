"""Run directories that are written by hand."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_nas import plots
from lightning_nas.plots import style

CRITERIA = {"n": 3, "kendall_tau": 0.5, "spearman": 0.75}


def config(seed: int = 0, sampler: str | None = None, **init_args: Any) -> dict[str, Any]:
    """What ``fit`` keeps, but for keys that no page looks at."""
    chosen = None
    if sampler is not None:
        chosen = {"class_path": f"lightning_nas.samplers.{sampler}", "init_args": init_args}
    return {
        "seed_everything": seed,
        "trainer": {"max_epochs": 4, "default_root_dir": f"runs/{seed}", "logger": None, "callbacks": None},
        "model": {
            "space": {"class_path": "lightning_nas.spaces.Pooling", "init_args": {"channels": [8, 16]}}
        },
        "data": {"class_path": "lightning_nas.data.DigitsDataModule", "init_args": {"seed": None}},
        "sampler": chosen,
        "data_sampler": None,
        "ranking": {"paths": "all"},
    }


def write(
    folder: Path,
    keys: Mapping[str, Any] | None = None,
    accuracies: Sequence[float] = (),
    results: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A run with a validation after every epoch of ten steps.

    Args:
        folder: The run directory, which is returned.
        keys: ``config.yaml``; None writes none.
        accuracies: ``val/accuracy`` of every epoch; none writes no ``metrics.csv``.
        results: Contents of JSON files by their name.
    """
    folder.mkdir(parents=True)
    if keys is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(dict(keys), sort_keys=False))
    if accuracies:
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "epoch", "time/data_wait", "train/loss", "val/accuracy"])
            for epoch, accuracy in enumerate(accuracies):
                writer.writerow([10 * epoch + 4, "", 0.1, 2.5 - epoch, ""])
                writer.writerow([10 * epoch + 9, float(epoch), "", "", accuracy])
    for name, content in (results or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def draw(file: Path, width: float = 2) -> Path:
    """A small figure, as runs keep them."""
    figure = style.new_figure(width, 1)
    figure.subplots().plot([1, 2])
    plots.save(figure, file)
    return file
