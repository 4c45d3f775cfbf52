"""What the converters have in common: reading the original, and averaging the runs of an architecture."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark

DECIMALS = 4


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        NASError: The file is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise NASError(f"{path} cannot be read as JSON: {error}.") from error


def percent(value: object, place: str) -> float:
    """An accuracy in percent.

    Args:
        value: What the original gives.
        place: Where it stands, for the message.

    Raises:
        NASError: It is no number from 0 to 100.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise NASError(
            f"{place} gives the accuracy {value!r}, but it must be a number from 0 to 100 (percent)."
        )
    return float(value)


def averaged(
    path: Path,
    runs: Mapping[str, Mapping[str, Sequence[float]]],
    costs: dict[str, dict[str, int]] | None = None,
) -> TabularBenchmark:
    """A table of means over runs.

    Args:
        path: The original.
        runs: For every dataset, the accuracies in percent of every architecture, one per run.
        costs: As in :class:`TabularBenchmark`.

    Returns:
        Means, and population standard deviations where some architecture has several runs.

    Raises:
        NASError: There are no architectures, or not the same ones for every dataset.
    """
    archs = tuple(next(iter(runs.values())))
    require(archs, f"{path} holds no architecture.")
    for dataset, found in runs.items():
        require(
            found.keys() == set(archs), f"{path} has other architectures for {dataset} than for the rest."
        )
    return TabularBenchmark(
        path=path,
        archs=archs,
        accuracies={dataset: _each(np.mean, found) for dataset, found in runs.items()},
        deviations={
            dataset: _each(np.std, found)
            for dataset, found in runs.items()
            if any(len(accuracies) > 1 for accuracies in found.values())
        },
        costs=costs or {},
    )


def _each(statistic: Any, runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {arch: round(float(statistic(accuracies)), DECIMALS) for arch, accuracies in runs.items()}


def require(condition: object, sentence: str) -> None:
    """Refuses an original that is not of its published form.

    Raises:
        NASError: The condition does not hold; the sentence says what is wrong and where.
    """
    if not condition:
        raise NASError(sentence)


def require_complete(table: TabularBenchmark, archs: Iterable[str]) -> TabularBenchmark:
    """The table, which must hold exactly these architectures.

    Raises:
        NASError: It lacks some or has others.
    """
    table.check(archs)
    return table
