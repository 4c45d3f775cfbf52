"""Pooling on ResNet-20 (Roshtkhari et al., 2023): 36 networks on CIFAR-10."""

import csv
from pathlib import Path

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import DECIMALS, percent, require, require_complete

LAYERS = 10
NUMBER, MEAN, DEVIATION = "architecture", "baseline_avg", "baseline_stdev"


def convert(source: Path) -> TabularBenchmark:
    """Ground truth from ``resnet20_baselines_mixture.csv`` of the authors, or from a CSV table.

    The file of the authors numbers the architectures from 1 to 36 and gives means and standard deviations of
    networks trained alone in its columns ``baseline_avg`` and ``baseline_stdev``; the others are of supernets.

    Raises:
        NASError: The file is not of this form, or lacks an architecture.
    """
    table = from_numbered(source) if NUMBER in _header(source) else TabularBenchmark.read(source)
    return require_complete(table, all_archs())


def all_archs() -> list[str]:
    """All architectures: layers at full, half and quarter resolution, in lexicographic order."""
    return [
        f"{first}-{second}-{LAYERS - first - second}"
        for first in range(1, LAYERS - 1)
        for second in range(1, LAYERS - first)
    ]


def from_numbered(source: Path) -> TabularBenchmark:
    """Ground truth from the file of the authors.

    Raises:
        NASError: A row is not of the published form.
    """
    archs = all_archs()
    means: dict[str, float] = {}
    deviations: dict[str, float] = {}
    lines: dict[str, int] = {}
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            place = f"{source} line {reader.line_num}"
            arch = _numbered(row, archs, place)
            require(arch not in means, f"{place} repeats architecture {row[NUMBER]}.")
            means[arch], deviations[arch] = (_cell(row, column, place) for column in (MEAN, DEVIATION))
            lines[arch] = reader.line_num
    return TabularBenchmark(source, tuple(means), {"cifar10": means}, {}, {"cifar10": deviations}, lines)


def _numbered(row: dict[str, str], archs: list[str], place: str) -> str:
    number = row[NUMBER]
    if not (number.isdecimal() and 1 <= int(number) <= len(archs)):
        raise NASError(
            f"{place} has the architecture {number!r}, but it must be a number from 1 to {len(archs)}."
        )
    return archs[int(number) - 1]


def _cell(row: dict[str, str], column: str, place: str) -> float:
    text = row.get(column)
    try:
        value: object = float(text or "")
    except ValueError:
        value = text
    return round(percent(value, f"{place} column {column!r}"), DECIMALS)


def _header(source: Path) -> list[str]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NASError(f"{source} cannot be read as a CSV file: {error}.") from error
