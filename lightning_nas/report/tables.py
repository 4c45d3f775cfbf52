"""The tables of the page, as text."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from lightning_nas.report.comparison import ABSENT, Method, Spread, differences, environments
from lightning_nas.report.facts import measures, plain, rankings, shortened, words
from lightning_nas.report.run import Run, Tree

BEST = 5
SHARED = ("space", "data", "epochs")
PATHS = ("arch", "score", "accuracy", "loss", "ground_truth", "params", "macs")
RETRAINED = (
    "arch",
    "params",
    "macs",
    "val/accuracy",
    "test/accuracy",
    "test/top5",
    "ground_truth",
    "difference",
)
LEARNT = ("arch", "params", "macs", "accuracy", "genotype_accuracy", "ground_truth")
LEAVES = ("leaf", "paths", "finished", "accuracy", "arch", "score", "ground_truth", "retrained")
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?( of \d+)?(\n± .*)?")


@dataclass(frozen=True)
class Table:
    """Cells as text; a line break within one is shown.

    Attributes:
        title: What it is about; may be empty.
        columns: Names.
        rows: As many cells each.
        mixed: Whether columns hold numbers and words side by side, and are all to be read as words.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    mixed: bool = False

    @property
    def numeric(self) -> list[bool]:
        """For every column whether it is one of numbers alone."""
        if self.mixed:
            return [False] * len(self.columns)
        cells = (
            [cell for cell in column if cell not in ("", ABSENT)] for column in zip(*self.rows, strict=True)
        )
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in cells]


def text(value: object) -> str:
    """A value in a cell: numbers with two or three decimals, whole ones without, nothing for none.

    Example:
        >>> text(0.51234), text(91.256), text(1234567), text(None), text(float("nan"))
        ('0.512', '91.26', '1,234,567', '', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else _rounded(value)


def of_rows(title: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> Table:
    """Rows as a table; columns that are empty in all of them are left out.

    Args:
        title: What it is about.
        rows: Values by column.
        columns: Their order; that of the rows if not given.
    """
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    cells = [[text(row.get(name)) for name in names] for row in rows]
    kept = [i for i in range(len(names)) if any(row[i] for row in cells)]
    return Table(title, [names[i] for i in kept], [[row[i] for i in kept] for row in cells])


# -------------------------------------------------------------------------------------------- of all the runs


def summary(runs: Sequence[Run]) -> Table:
    """A row for every run: what it is, and how good."""
    return of_rows("", [{"run": run.label, **words(run), **measures(run)} for run in runs])


def criteria(runs: Sequence[Run]) -> Table:
    """A row for every ranking of a run."""
    rows = [
        {"run": run.label, "from": verb, **found} for run in runs for verb, found in rankings(run).items()
    ]
    return of_rows("", rows)


def spreads(found: Sequence[Method]) -> Table:
    """A row for every method, with mean and standard deviation over its seeds."""
    rows = [
        {
            "method": method.name,
            "runs": ", ".join(run.label for run in method.runs),
            **{fact: ", ".join(dict.fromkeys(words(run)[fact] for run in method.runs)) for fact in SHARED},
            "seeds": len(method.seeds),
            **{name: _spread(spread) for name, spread in method.spreads().items()},
        }
        for method in found
    ]
    return of_rows("", rows)


def _spread(spread: Spread) -> str:
    if spread.deviation is None:
        return _rounded(spread.mean)
    return f"{_rounded(spread.mean)}\n± {spread.deviation:.{_decimals(spread.mean)}f}"


def _rounded(value: float) -> str:
    return f"{value:z,.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    return 2 if abs(value) >= 10 else 3


def settings(runs: Sequence[Run]) -> Table:
    """A row for every setting that differs, a column for every run."""
    # What a search or an estimate was asked for has other keys.
    comparable = [run for run in runs if run.config] or runs
    rows = [[key, *map(shortened, values)] for key, values in differences(comparable).items()]
    return Table("", ["setting", *(run.label for run in comparable)], rows, mixed=True)


def machines(runs: Sequence[Run]) -> Table:
    """A row for every environment."""
    rows = [{"runs": ", ".join(of), **dict(facts)} for facts, of in environments(runs).items()]
    return of_rows("", [row if len(row) > 1 else row | {"python": "not recorded"} for row in rows])


# ------------------------------------------------------------------------------------------------- of one run


def results(run: Run) -> list[Table]:
    """What verbs have found."""
    found = _ranked(run)
    for file, tree in run.results.items():
        if (known := REPORTS.get(PurePosixPath(file).name)) is not None:
            title, rows_of, columns = known
            found.append(of_rows(f"{title} ({file})", _dicts(rows_of(tree)), columns))
    return [table for table in found + _truths(run) if table.rows]


def _ranked(run: Run) -> list[Table]:
    """The paths that ``ranking.csv`` ranks first."""
    if (table := run.scores) is None:
        return []
    order = np.argsort(-table.columns["accuracy"], kind="stable")[:BEST]
    rows = [
        {
            "arch": table.archs[i],
            **{name: _whole(name, column[i].item()) for name, column in table.columns.items()},
        }
        for i in order
    ]
    return [of_rows(f"The {len(rows)} paths ranked best of {len(table.archs):,}", rows, PATHS)]


def _truths(run: Run) -> list[Table]:
    """The truly best paths of a ground truth that was measured here, or how far that is."""
    if run.truth is None:
        progress = [{"networks trained": run.measured}] if run.measured else []
        return [of_rows("Ground truth in progress", progress)]
    found = []
    for dataset in run.truth.datasets:
        accuracy = run.truth.column(dataset)
        best = sorted(accuracy, key=lambda arch: -accuracy[arch])[:BEST]
        title = f"Ground truth on {dataset}: the {len(best)} best of {len(accuracy):,} paths"
        found.append(of_rows(title, [{"arch": arch, "accuracy": accuracy[arch]} for arch in best]))
    return found


def _criteria_by_score(tree: Tree) -> list[Tree]:
    scores = tree.get("criteria")
    if not isinstance(scores, dict):
        return []
    return [{"score": score, **found} for score, found in scores.items() if isinstance(found, dict)]


def _dicts(rows: object) -> list[Tree]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _whole(name: str, value: float) -> float | int:
    return int(value) if name in ("params", "macs") else value


REPORTS: dict[str, tuple[str, Callable[[Tree], object], Sequence[str] | None]] = {
    "estimates.json": ("Scores against the ground truth", _criteria_by_score, None),
    "learn.json": ("The architecture learnt", lambda tree: [tree.get("best")], LEARNT),
    "rank.json": ("Scores against the ground truth", _criteria_by_score, None),
    "retrain.json": ("Trained alone", lambda tree: [tree], RETRAINED),
    "search.json": ("The best of a search", lambda tree: tree.get("top"), None),
    "selection.json": ("The leaves", lambda tree: tree.get("leaves"), LEAVES),
}
"""For every file of results a title, where its rows are, and their columns, which are all of them if not given."""
