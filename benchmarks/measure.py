"""What all benchmarks share: timing in turn, arguments, and the table and file of figures.

The time of a computation moves with everything else that runs on the machine; the ratio of two that run in
turn in one process hardly does. So both sides are timed in every round, and a figure is a median over rounds.
"""

import argparse
import json
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, NamedTuple

import torch

from lightning_nas.files import written_whole


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: What was measured, and at which size.
        values: One per round.
        unit: Their unit; ``x`` for a ratio.
        sides: Of a ratio, medians of what it was made of: ours and what ours is compared with, and their unit.
    """

    name: str
    values: Sequence[float]
    unit: str
    sides: tuple[float, float, str] | None = None

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def spread(self) -> str:
        """The middle half of the rounds, from the lower to the upper quartile."""
        if len(self.values) == 1:
            return ""
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return f"{low:.3g} to {high:.3g}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a benchmark: ``quick`` and ``json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the medians there")
    parser.add_argument("--comparisons", type=Path, help=argparse.SUPPRESS)  # for benchmarks/table.py
    return parser


def arguments(description: str | None) -> argparse.Namespace:
    """What was given to a benchmark without options of its own."""
    return parser(description).parse_args()


def seconds(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times all sides in turn, and forwards and backwards in turn; one more round at first does not count."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in sides if number % 2 else reversed(list(sides)):
            start = perf_counter()
            sides[name]()
            taken[name].append(perf_counter() - start)
    return {name: values[1:] for name, values in taken.items()}


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """``above / below``, round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def relative(name: str, ours: Sequence[float], reference: Sequence[float], unit: str) -> Figure:
    """How much more ours takes than what it is compared with, round by round; ``name`` ends in ``ours / reference``."""
    return Figure(name, ratios(ours, reference), "x", (median(ours), median(reference), unit))


def speedup(name: str, ours: Sequence[float], reference: Sequence[float], unit: str) -> Figure:
    """How much more the reference takes than ours, round by round; ``name`` ends in ``reference / ours``."""
    return Figure(name, ratios(reference, ours), "x", (median(ours), median(reference), unit))


def peak_megabytes() -> float:
    """The most memory that this process has had, or one of those that it has waited for."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(process).ru_maxrss for process in who) / 1024


def report(figures: Sequence[Figure], options: argparse.Namespace) -> None:
    """Prints a table, and writes what else was asked for."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU")
    width = max(len(figure.name) for figure in figures)
    print(f"{'':{width}}  {'median':>9}  {'unit':8}  middle half of rounds")
    for figure in figures:
        spread = f"{figure.spread} ({len(figure.values)} rounds)" if figure.spread else ""
        print(f"{figure.name:{width}}  {figure.value:9.4g}  {figure.unit:8}  {spread}".rstrip())
    if options.json:
        _write(
            options.json,
            [{"name": figure.name, "value": figure.value, "unit": figure.unit} for figure in figures],
        )
    if options.comparisons:
        compared = [(figure, *figure.sides) for figure in figures if figure.sides]
        _write(
            options.comparisons,
            [
                Comparison(
                    figure.name, ours, reference, unit, figure.value, figure.spread, peak_megabytes()
                )._asdict()
                for figure, ours, reference, unit in compared
            ],
        )


class Comparison(NamedTuple):
    """A row of the table of all benchmarks."""

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    spread: str
    peak_megabytes: float


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    with written_whole(file) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n")
