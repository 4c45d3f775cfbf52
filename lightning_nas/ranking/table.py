"""The scores of a run, as its ``ranking.csv`` holds them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import check_archs, check_names, read_cells
from lightning_nas.ranking.metrics import Floats, mean_scores

SCORES = ("accuracy", "loss")
FACTS = ("ground_truth", "params", "macs")


@dataclass(frozen=True)
class ScoreTable:
    """What a supernet says of some architectures, and what is known of them.

    Attributes:
        path: The file that was read.
        archs: Encoded architectures in the order of the file.
        columns: The numbers of every column that is there, shape (n,): ``accuracy`` and ``loss``, in which NaN is a
            path that could not be scored, ``ground_truth``, ``params`` and ``macs``.
        lines: The line of every architecture in the file.
    """

    path: Path
    archs: tuple[str, ...]
    columns: dict[str, Floats]
    lines: tuple[int, ...]

    @classmethod
    def read(cls, path: str | Path) -> "ScoreTable":
        """Reads a CSV file ``arch,accuracy[,loss][,ground_truth][,params][,macs]``; other columns are ignored.

        Raises:
            NASError: The file is missing or empty, lacks a column, or has a cell that is no such number.
        """
        path = Path(path)
        header, lines, rows = read_cells(path, "ranking")
        check_names(path, header)
        if "accuracy" not in header:
            raise NASError(f"{path} has the columns {', '.join(header)}, but needs one named accuracy.")
        cells = dict(zip(header, zip(*rows, strict=True), strict=True))
        archs = check_archs(path, cells["arch"], lines)
        columns = {
            name: _numbers(path, name, cells[name], lines)
            for name in (*SCORES, *FACTS)
            # A run without ground truth leaves its column empty.
            if name in cells and any(cells[name])
        }
        return cls(path, archs, columns, tuple(lines))

    def ordered_as(self, archs: Sequence[str], like: Path) -> "ScoreTable":
        """The table with exactly the given architectures, in their order.

        Args:
            archs: Encoded architectures.
            like: The file they come from, for the error message.

        Raises:
            NASError: An architecture is missing here or there.
        """
        position = {arch: i for i, arch in enumerate(self.archs)}
        if missing := [arch for arch in archs if arch not in position]:
            raise NASError(
                f"{self.path} lacks architecture {missing[0]!r} of {like}; both must score the same ones."
            )
        known = set(archs)
        for arch, line in zip(self.archs, self.lines, strict=True):
            if arch not in known:
                raise NASError(
                    f"{self.path} line {line} scores architecture {arch!r}, which {like} lacks; both must score the "
                    "same ones."
                )
        order = [position[arch] for arch in archs]
        columns = {name: column[order] for name, column in self.columns.items()}
        return ScoreTable(self.path, tuple(archs), columns, tuple(self.lines[i] for i in order))


def average(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Several supernets as one: the mean of their accuracies and losses.

    Args:
        tables: At least one, of the same architectures in any order; what is known of them is that of the first.

    Raises:
        NASError: The architectures or the ground truths differ.
    """
    first, *others = tables
    ordered = [first, *(table.ordered_as(first.archs, first.path) for table in others)]
    for name in FACTS:
        for table in ordered[1:]:
            _require_equal(first, table, name)
    scores = {
        name: mean_scores([table.columns[name] for table in ordered])
        for name in SCORES
        if all(name in table.columns for table in ordered)
    }
    facts = {name: first.columns[name] for name in FACTS if name in first.columns}
    return replace(first, columns=scores | facts)


def _require_equal(first: ScoreTable, other: ScoreTable, name: str) -> None:
    if name not in first.columns or name not in other.columns:
        return
    differing = np.flatnonzero(first.columns[name] != other.columns[name])
    if len(differing):
        i = differing[0]
        raise NASError(
            f"{other.path} line {other.lines[i]} has {name} {other.columns[name][i]:.10g} for architecture "
            f"{first.archs[i]!r}, but {first.path} line {first.lines[i]} has {first.columns[name][i]:.10g}; only rankings "
            "of the same architectures and data can be averaged."
        )


def _numbers(path: Path, name: str, column: Sequence[str], lines: Sequence[int]) -> Floats:
    numbers = []
    for cell, line in zip(column, lines, strict=True):
        try:
            number = float(cell)
        except ValueError:
            number = math.inf
        if math.isinf(number) or (name in FACTS and math.isnan(number)):
            valid = (
                "a finite number" if name in FACTS else "a number, or nan where the path could not be scored"
            )
            raise NASError(f"{path} line {line} has {cell!r} in column {name!r}, but it must be {valid}.")
        numbers.append(number)
    return np.array(numbers, dtype=np.float64)
