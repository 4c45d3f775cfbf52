"""Ground truth from a table: the stand-alone accuracy of every architecture of a space."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.files import written_whole
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace

# Tables that this framework wrote have both, and are compared with a space. Published tables call multiply-adds
# "flops", by conventions of their own: they also serve supernets of other widths, which rank the same paths.
COMPARABLE_COSTS = ("params", "macs")
COSTS = (*COMPARABLE_COSTS, "flops")
STD = "_std"


class TableRow(NamedTuple):
    """One architecture of a table that is written.

    Attributes:
        arch: The encoded architecture.
        mean: Mean accuracy over seeds in percent.
        std: Standard deviation of the accuracy over seeds in percent.
        params: Number of parameters.
        macs: Multiply-adds of one image.
    """

    arch: str
    mean: float
    std: float
    params: int
    macs: int


@dataclass(frozen=True)
class TabularBenchmark:
    """Ground truth by encoded architecture.

    Attributes:
        path: The file that was read.
        archs: Encoded architectures in the order of the file.
        accuracies: For every dataset, the accuracy in percent of every architecture.
        costs: For every cost column of the table (params, macs, flops), the cost of every architecture.
        deviations: For every dataset with a column ``<dataset>_std``, the standard deviation over seeds.
        lines: The line of every architecture in the file; empty where the file is no CSV table.
    """

    path: Path
    archs: tuple[str, ...]
    accuracies: dict[str, dict[str, float]]
    costs: dict[str, dict[str, int]] = field(default_factory=dict)
    deviations: dict[str, dict[str, float]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> "TabularBenchmark":
        """Reads a CSV table ``arch,<dataset>[,<dataset>_std],...[,params][,macs or flops]``.

        Architectures are text (``00110021`` stays as it is), accuracies and their standard deviations are
        percent, costs are whole numbers.

        Raises:
            NASError: The file is missing or empty, or something in it is no such table.
        """
        path = Path(path)
        header, lines, rows = read_cells(path, "benchmark table")
        datasets = _check_header(path, header)
        cells = dict(zip(header, zip(*rows, strict=True), strict=True))
        archs = check_archs(path, cells.pop("arch"), lines)
        numbers = {name: _numbers(path, name, column, lines) for name, column in cells.items()}
        return cls(
            path=path,
            archs=archs,
            accuracies={name: dict(zip(archs, numbers[name], strict=True)) for name in datasets},
            costs={
                name: dict(zip(archs, map(int, numbers[name]), strict=True))
                for name in COSTS
                if name in numbers
            },
            deviations={
                name: dict(zip(archs, numbers[name + STD], strict=True))
                for name in datasets
                if name + STD in numbers
            },
            lines=dict(zip(archs, lines, strict=True)),
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The columns that hold accuracies."""
        return tuple(self.accuracies)

    def column(self, dataset: str | None = None) -> dict[str, float]:
        """Accuracy in percent by architecture.

        Args:
            dataset: One of :attr:`datasets`; None means the only one.

        Raises:
            NASError: There is no such dataset, or it is None and there are several.
        """
        known = ", ".join(self.datasets)
        if dataset is None and len(self.datasets) > 1:
            raise NASError(f"{self.path} holds several datasets, so one must be named: {known}.")
        name = self.datasets[0] if dataset is None else dataset
        if name not in self.accuracies:
            raise NASError(f"{self.path} has no dataset {name!r}; it has: {known}.")
        return dict(self.accuracies[name])

    def check(self, archs: Iterable[str], costs: Mapping[str, tuple[int, int]] | None = None) -> None:
        """Refuses a table that does not hold exactly the given architectures.

        Args:
            archs: All encoded architectures of the space.
            costs: Params and multiply-adds of some or all of them; compared only where the table has the
                columns params and macs.

        Raises:
            NASError: The table lacks architectures or has others, or a cost differs.
        """
        wanted = dict.fromkeys(archs)
        known = set(self.archs)
        self._refuse_missing([arch for arch in wanted if arch not in known], len(wanted))
        if unknown := [arch for arch in self.archs if arch not in wanted]:
            first = f", the first in line {self.lines[unknown[0]]}" if self.lines else ""
            raise NASError(
                f"{self.path} holds {_some(unknown)} that the search space does not have{first}; "
                "the table belongs to another space."
            )
        self._check_costs((costs or {}).items())

    def paths(self, space: SearchSpace) -> dict[Architecture, str]:
        """The architectures of a space that the table has, by path.

        A table of a whole space fits every part of it too. It must be complete, except where the space is
        too large to enumerate: of such a space a table holds some architectures.

        Args:
            space: A space or a part of one.

        Raises:
            NASError: A row is no architecture of the whole space or repeats another, the table lacks
                architectures of an enumerable space or has none of a larger one, or a cost differs.
        """
        decoded: dict[Architecture, str] = {}
        unknown: dict[str, NASError] = {}
        for arch in self.archs:
            try:
                path = space.whole.decode(arch)
            except NASError as error:
                unknown[arch] = error
                continue
            if (first := decoded.setdefault(path, arch)) != arch:
                raise NASError(f"{self._row(arch)} holds {arch!r}, the architecture of {self._row(first)}.")
        if decoded:  # or it is the table of another space altogether
            _raise_first(unknown, self._row)
        if space.size <= ENUMERABLE:
            missing = [space.encode(path) for path in space if path not in decoded]
            self._refuse_missing(missing, space.size)
        _raise_first(unknown, self._row)
        costs = ((arch, space.whole.cost(path)) for path, arch in decoded.items())
        self._check_costs((arch, (cost.params, cost.macs)) for arch, cost in costs)
        found = {path: arch for path, arch in decoded.items() if space.is_valid(path)}
        if not found:
            raise NASError(
                f"{self.path} has no architecture of the search space; its rows are of other parts."
            )
        return found

    def truth(self, space: SearchSpace, dataset: str | None = None) -> dict[Architecture, float]:
        """The accuracy in percent of every path of a space, or of those that the table has; see ``paths``.

        Args:
            space: The space.
            dataset: Column of the table; None takes the only one.

        Raises:
            NASError: The table does not fit the space, or has no such column.
        """
        accuracy = self.column(dataset)
        return {path: accuracy[arch] for path, arch in self.paths(space).items()}

    def _refuse_missing(self, missing: Sequence[str], wanted: int) -> None:
        if missing:
            raise NASError(
                f"{self.path} lacks {_some(missing)} of the {wanted} in the search space; "
                "ground truth is needed for every one."
            )

    def _check_costs(self, costs: Iterable[tuple[str, tuple[int, int]]]) -> None:
        if not all(name in self.costs for name in COMPARABLE_COSTS):
            return
        for arch, expected in costs:
            for name, value in zip(COMPARABLE_COSTS, expected, strict=True):
                if self.costs[name][arch] != value:
                    raise NASError(
                        f"{self._row(arch)} gives {name} {self.costs[name][arch]} for architecture {arch!r}, but "
                        f"the search space {value}; the table was made for another width, image size or "
                        "number of classes."
                    )

    def _row(self, arch: str) -> str:
        """Where an architecture stands, for messages."""
        return f"{self.path} line {self.lines[arch]}" if self.lines else str(self.path)

    def write(self, path: Path) -> None:
        """Writes the table, whole or not at all, as :meth:`read` reads it.

        Text is quoted, numbers are not: so a reader that heeds quotes does not take ``00110021`` for a number.

        Args:
            path: The CSV file; its folder is created.
        """
        columns: dict[str, Mapping[str, float]] = {}
        for dataset, accuracies in self.accuracies.items():
            columns[dataset] = accuracies
            if dataset in self.deviations:
                columns[dataset + STD] = self.deviations[dataset]
        columns |= self.costs
        with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writerow(("arch", *columns))
            writer.writerows((arch, *(column[arch] for column in columns.values())) for arch in self.archs)


def _raise_first(unknown: Mapping[str, NASError], row: Callable[[str], str]) -> None:
    for arch, reason in unknown.items():
        raise NASError(f"{row(arch)}: {reason}") from reason


def write_table(path: Path, dataset: str, rows: Iterable[TableRow]) -> None:
    """Writes ground truth on one dataset, whole or not at all, as :meth:`TabularBenchmark.read` reads it.

    Args:
        path: The CSV file; its folder is created.
        dataset: Name of the accuracy column.
        rows: One row per architecture.
    """
    rows = list(rows)
    TabularBenchmark(
        path=path,
        archs=tuple(row.arch for row in rows),
        accuracies={dataset: {row.arch: row.mean for row in rows}},
        deviations={dataset: {row.arch: row.std for row in rows}},
        costs={
            "params": {row.arch: row.params for row in rows},
            "macs": {row.arch: row.macs for row in rows},
        },
    ).write(path)


def read_cells(path: Path, kind: str) -> tuple[list[str], list[int], list[list[str]]]:
    """The header of a CSV file, and the line number and the cells of every row.

    Args:
        path: The file.
        kind: What it is, for the error messages.

    Raises:
        NASError: The file is missing, empty or no CSV file, or a row is shorter or longer than the header.
    """
    try:
        # Spreadsheet programs put a byte order mark in front, which "utf-8-sig" takes off.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError:
        raise NASError(f"{kind} {path} does not exist; give the path of a CSV file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NASError(f"{kind} {path} cannot be read as a CSV file: {error}.") from error
    if len(table) < 2:
        raise NASError(f"{kind} {path} is empty; it needs a header and one row per architecture.")
    (_, header), *rows = table
    for line, row in rows:
        if len(row) != len(header):
            raise NASError(f"{path} line {line} has {len(row)} cells, but the header has {len(header)}.")
    return header, [line for line, _ in rows], [row for _, row in rows]


def check_names(path: Path, header: Sequence[str]) -> None:
    """Refuses a header in which a name stands twice or ``arch`` is missing."""
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise NASError(f"{path} has the column {twice[0]!r} more than once; every column needs its own name.")
    if "arch" not in header:
        raise NASError(f"{path} has the columns {', '.join(header)}, but needs one named arch.")


def _check_header(path: Path, header: Sequence[str]) -> list[str]:
    """The dataset columns."""
    check_names(path, header)
    datasets = [name for name in header if name not in ("arch", *COSTS) and not name.endswith(STD)]
    for name in header:
        if name.endswith(STD) and name.removesuffix(STD) not in datasets:
            raise NASError(
                f"{path} has the column {name!r}, but no dataset {name.removesuffix(STD)!r} it is of."
            )
    if not datasets:
        raise NASError(f"{path} has no dataset; beside arch and the costs it needs a column of accuracies.")
    return datasets


def check_archs(path: Path, archs: tuple[str, ...], lines: Sequence[int]) -> tuple[str, ...]:
    """The architectures of a table; refuses one without a name and one that stands twice."""
    seen: dict[str, int] = {}
    for arch, line in zip(archs, lines, strict=True):
        if not arch:
            raise NASError(f"{path} line {line} names no architecture; its arch cell must not be empty.")
        if arch in seen:
            raise NASError(f"{path} line {line} repeats architecture {arch!r} of line {seen[arch]}.")
        seen[arch] = line
    return archs


def _numbers(path: Path, name: str, column: Sequence[str], lines: Sequence[int]) -> list[float]:
    """A column as accuracies in percent, or as whole numbers where it is a cost."""
    numbers = [_number(cell) for cell in column]
    if all(map(math.isnan, numbers)):
        raise NASError(
            f"{path} has the column {name!r}, which is neither a dataset nor a cost: its first value is "
            f"{column[0]!r}, but beside arch every column must hold numbers."
        )
    valid = "a whole number, 0 or more" if name in COSTS else "a number from 0 to 100 (percent)"
    for number, cell, line in zip(numbers, column, lines, strict=True):
        if not (number >= 0 and number.is_integer() if name in COSTS else 0 <= number <= 100):
            raise NASError(f"{path} line {line} has {cell!r} in column {name!r}, but it must be {valid}.")
    return numbers


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _some(archs: Sequence[str]) -> str:
    """How many there are, and the first three by name."""
    named = ", ".join(map(repr, archs[:3])) + (", ..." if len(archs) > 3 else "")
    return f"{len(archs)} architecture{'s' if len(archs) > 1 else ''} ({named})"
