"""What lies in a run directory, whichever verbs have been there, also while one is still at work."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_nas import checkpoint, provenance
from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.table import ScoreTable

CONFIG = "config.yaml"
METRICS = "metrics.csv"
CHECKPOINT = "last.ckpt"
RANKING = "ranking.csv"
MEASURED = "groundtruth_runs.csv"
TRUTH = "groundtruth.csv"
ESTIMATES = "estimates.csv"
ANYWHERE = ("estimates.json", "learn.json", "rank.json", "retrain.json", "search.json")
"""Results that may also lie in a folder below the run directory, where ``out`` has put them."""
RESULTS = (*ANYWHERE, "ranking.json", "selection.json", "test_ranking.json", "tree.json")
READABLE = (CONFIG, METRICS, CHECKPOINT, RANKING, MEASURED, TRUTH, ESTIMATES, *RESULTS)

Tree = dict[str, Any]
"""What a YAML or JSON file holds."""

Curves = dict[str, tuple[list[float], list[float]]]
"""For every metric its steps and values, of equal length, without NaN."""


@dataclass(frozen=True)
class Run:
    """What a run has left so far.

    Attributes:
        folder: The run directory.
        label: What tells it from the other runs of the page.
        config: ``config.yaml``; empty where there is none.
        curves: ``metrics.csv``.
        results: What verbs have written as JSON, by the name of the file below the run directory.
        scores: ``ranking.csv``.
        truth: ``groundtruth.csv``.
        epochs: How many are finished; None where that is not known.
        steps: Of the optimizer; None where that is not known.
        measured: Networks of a ground truth that are trained so far.
        environment: With what every verb was run, see ``lightning_nas.provenance``; a verb whose results lie in a folder
            below stands there as ``<folder>/<verb>``.
        figures: All PNG files of the run.
    """

    folder: Path
    label: str
    config: Tree
    curves: Curves
    results: dict[str, Tree]
    scores: ScoreTable | None
    truth: TabularBenchmark | None
    epochs: int | None
    steps: int | None
    measured: int
    environment: dict[str, provenance.Facts]
    figures: tuple[Path, ...]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads run directories. What lies in one within another belongs to the inner one.

    Raises:
        NASError: One is no run directory or is given twice, or a file in it is broken.
    """
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(folders):
        if resolved[number] in resolved[:number]:
            raise NASError(f"run {str(folder)!r} is given twice: give every run once")
    return [
        _read(folder, label, [other for other in resolved if other != folder.resolve()])
        for folder, label in zip(folders, labels(resolved), strict=True)
    ]


def labels(folders: Sequence[Path]) -> list[str]:
    """What tells paths apart: they without what all begin and all end with.

    Args:
        folders: Absolute paths, all different.

    Example:
        >>> labels([Path("/runs/a/0"), Path("/runs/a/1"), Path("/runs/b")])
        ['a/0', 'a/1', 'b']
        >>> labels([Path("/x/small/run"), Path("/x/large/run")])
        ['small', 'large']
    """
    parts = [folder.parts for folder in folders]
    while len(parts) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    while all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]


def _read(folder: Path, label: str, others: Sequence[Path]) -> Run:
    if not folder.is_dir():
        raise NASError(
            f"run {str(folder)!r} is no folder: give run directories, such as trainer.default_root_dir names"
        )
    if not any((folder / name).is_file() for name in READABLE):
        raise NASError(
            f"run {str(folder)!r} holds nothing of a run: give folders with at least one of {', '.join(READABLE)}"
        )
    inner = [other for other in others if other.is_relative_to(folder.resolve())]
    config, scores, truth = folder / CONFIG, folder / RANKING, folder / TRUTH
    curves = _curves(folder / METRICS)
    epochs, steps = _progress(folder / CHECKPOINT, curves)
    results = _results(folder, inner)
    return Run(
        folder=folder,
        label=label,
        config=_yaml(config) if config.is_file() else {},
        curves=curves,
        results={str(file.relative_to(folder)): _json(file) for file in results},
        scores=ScoreTable.read(scores) if scores.is_file() else None,
        truth=TabularBenchmark.read(truth) if truth.is_file() else None,
        epochs=epochs,
        steps=steps,
        measured=len(_rows(folder / MEASURED)),
        environment=_environment(folder, results),
        figures=tuple(_figures(folder, inner)),
    )


def _progress(last: Path, curves: Curves) -> tuple[int | None, int | None]:
    """Epochs and steps of the checkpoint, or else those that were logged."""
    known = checkpoint.read(last) if last.is_file() else {}
    epochs = at(known, "loops", "fit_loop", "epoch_progress", "current", "processed")
    if epochs is None and "epoch" in curves:
        epochs = int(max(curves["epoch"][1])) + 1
    logged = [int(max(steps)) for steps, _ in curves.values()]
    return epochs, known.get("global_step", max(logged, default=None))


def _environment(folder: Path, results: Sequence[Path]) -> dict[str, provenance.Facts]:
    """What verbs were run with in the run directory, and in folders below it that hold results."""
    places = dict.fromkeys([folder, *(file.parent for file in results)])
    return {
        verb if place == folder else f"{place.relative_to(folder)}/{verb}": facts
        for place in places
        for verb, facts in provenance.read(place).items()
    }


def at(tree: object, *keys: str) -> Any:
    """The value below some keys of nested dictionaries; None where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _results(folder: Path, inner: Sequence[Path]) -> list[Path]:
    own = [folder / name for name in RESULTS]
    below = [file for name in ANYWHERE for file in sorted(folder.glob(f"*/{name}"))]
    return [file for file in (*own, *below) if file.is_file() and not _within(file, inner)]


def _figures(folder: Path, inner: Sequence[Path]) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*.png")):
        parts = file.relative_to(folder).parts
        # Files that are being written have a dot in front; wandb keeps copies.
        hidden = parts[0] == "wandb" or any(part.startswith(".") for part in parts)
        if not hidden and not _within(file, inner):
            found.append(file)
    return found


def _within(file: Path, folders: Sequence[Path]) -> bool:
    return any(file.resolve().is_relative_to(folder) for folder in folders)


# ------------------------------------------------------------------------------------------------- the formats


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NASError(f"{file} cannot be read: {error}") from error


def _tree(file: Path, kind: str, tree: object) -> Tree:
    if not isinstance(tree, dict):
        raise NASError(f"{file} is {kind}, but has no keys: it was not written by a run")
    return tree


def _yaml(file: Path) -> Tree:
    try:
        return _tree(file, "YAML", yaml.safe_load(_text(file)))
    except yaml.YAMLError as error:
        raise NASError(f"{file} is no YAML: {' '.join(str(error).split())}") from error


def _json(file: Path) -> Tree:
    text = _text(file)
    try:
        return _tree(file, "JSON", json.loads(text))
    except json.JSONDecodeError as error:
        raise NASError(f"{file} is no JSON: {error}") from error


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file to which a run may be adding a line just now: one without an end is left out.

    Raises:
        NASError: A row has more or fewer cells than the header.
    """
    if not file.is_file():
        return []
    text = _text(file)
    try:
        header, *rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1] or "\n", newline=""))
    except csv.Error as error:
        raise NASError(f"{file} cannot be read as a CSV file: {error}") from error
    for line, cells in enumerate(rows, start=2):
        if len(cells) != len(header):
            raise NASError(f"{file} line {line} has {len(cells)} cells, but the header has {len(header)}")
    return [dict(zip(header, cells, strict=True)) for cells in rows]


def _curves(file: Path) -> Curves:
    curves: Curves = {}
    for line, row in enumerate(_rows(file), start=2):
        if "step" not in row:
            raise NASError(f"{file} has no column step, which metrics of a run have")
        numbers = {name: _number(file, line, name, cell) for name, cell in row.items() if cell}
        step = numbers.pop("step", math.nan)
        for name, value in numbers.items():
            if math.isfinite(value) and math.isfinite(step):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return curves


def _number(file: Path, line: int, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise NASError(f"{file} line {line} has {cell!r} in column {column!r}, which is no number") from None
