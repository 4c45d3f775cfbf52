"""One ranking of the whole space, in which every path has the score of its own leaf."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

from lightning_nas.fewshot.folder import Leaves
from lightning_nas.files import written_whole
from lightning_nas.ranking import ranking_metrics
from lightning_nas.ranking.table import ScoreTable
from lightning_nas.spaces import Path as Architecture


def write_own(leaves: Leaves, root: Path, paths: Sequence[Architecture]) -> dict[int, Path]:
    """Writes into every run directory of a leaf which of some paths are its own.

    Returns:
        The files, ``paths.txt``, of the leaves that have any.
    """
    own: dict[int, list[str]] = {}
    for path in paths:
        own.setdefault(leaves.of(path), []).append(leaves.space.encode(path))
    files = {leaf: leaves.folder(root, leaf) / "paths.txt" for leaf in sorted(own)}
    for leaf, file in files.items():
        with written_whole(file) as temporary:
            temporary.write_text("\n".join(own[leaf]) + "\n")
    return files


def merge(leaves: Leaves, root: Path, paths: Sequence[Architecture]) -> dict[str, float]:
    """Writes ``ranking.csv``, with a column ``leaf``, and ``ranking.json`` from the rankings of the leaves.

    Args:
        leaves: The parts of the space.
        root: Where their run directories are, with a ``ranking.csv`` in each that has a path.
        paths: Those that were scored, in the order of the table.

    Returns:
        The number of paths, and with ground truth the criteria.
    """
    rows: dict[str, dict[str, str | int]] = {}
    for leaf in sorted({leaves.of(path) for path in paths}):
        with (leaves.folder(root, leaf) / "ranking.csv").open(newline="") as file:
            rows |= {row["arch"]: {**row, "leaf": leaf} for row in csv.DictReader(file)}
    ordered = [rows[leaves.space.encode(path)] for path in paths]
    table = root / "ranking.csv"
    with written_whole(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ordered[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(ordered)
    columns = ScoreTable.read(table).columns
    report: dict[str, float] = {"n": len(ordered), "leaves": len(leaves.parts)}
    if "ground_truth" in columns:
        report |= ranking_metrics(columns["accuracy"], columns["ground_truth"])
    with written_whole(root / "ranking.json") as temporary:
        plain = {key: None if math.isnan(value) else value for key, value in report.items()}
        temporary.write_text(json.dumps(plain, indent=2) + "\n")
    return report
