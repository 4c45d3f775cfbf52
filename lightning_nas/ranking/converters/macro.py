"""NAS-Bench-Macro (Su et al., 2021): 6,561 chains of eight layers on CIFAR-10, three runs each."""

import itertools
from pathlib import Path
from typing import Any

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import averaged, percent, read_json, require, require_complete

RUNS = 3
ROUNDING = 0.005


def convert(source: Path) -> TabularBenchmark:
    """Ground truth from ``nas-bench-macro_cifar10.json`` or a CSV table.

    The JSON file maps an architecture such as ``22212220`` to ``test_acc`` (three runs, percent), ``mean_acc``,
    ``std`` (of the population), ``params`` and ``flops``.

    Raises:
        NASError: The file is not of this form, or lacks an architecture.
    """
    table = TabularBenchmark.read(source) if source.suffix == ".csv" else from_json(source)
    return require_complete(table, all_archs())


def all_archs() -> list[str]:
    """All architectures in ascending order."""
    return ["".join(choices) for choices in itertools.product("012", repeat=8)]


def from_json(source: Path) -> TabularBenchmark:
    """Ground truth from the official file.

    Raises:
        NASError: The file is not of the published form.
    """
    entries = read_json(source)
    require(isinstance(entries, dict) and entries, f"{source} must hold a dictionary of architectures.")
    runs = {arch: _accuracies(entry, f"{source} architecture {arch!r}") for arch, entry in entries.items()}
    costs = {
        name: {
            arch: _count(entry, name, f"{source} architecture {arch!r}") for arch, entry in entries.items()
        }
        for name in ("params", "flops")
    }
    return averaged(source, {"cifar10": runs}, costs)


def _accuracies(entry: Any, place: str) -> list[float]:
    accuracies = entry.get("test_acc") if isinstance(entry, dict) else None
    if not isinstance(accuracies, list) or len(accuracies) != RUNS:
        raise NASError(f"{place} must have a list test_acc of {RUNS} accuracies.")
    found = [percent(accuracy, place) for accuracy in accuracies]
    mean = percent(entry.get("mean_acc"), place)
    require(
        abs(sum(found) / RUNS - mean) < ROUNDING,
        f"{place} has mean_acc {mean}, but the mean of its test_acc is {sum(found) / RUNS:.4f}.",
    )
    return found


def _count(entry: Any, name: str, place: str) -> int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise NASError(f"{place} has {name} {value!r}, but it must be a whole number, 0 or more.")
    return int(value)
