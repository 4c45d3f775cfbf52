"""Runs all benchmarks quickly, and writes what they compare into one table: ``make bench``.

Every script runs in a process of its own, one after the other. With ``--nni PYTHON`` the training step is compared with NNI
too; see ``training_step.py``. The table is printed, and takes its place in ``docs/performance.md``.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.measure import Comparison
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "performance.md"
SCRIPTS = (
    "training_step",
    "evaluation",
    "density",
    "spaces",
    "samplers",
    "search",
    "zeroshot",
    "distributed",
    "data",
)
MARKS = ("<!-- written by make bench -->", "<!-- end of what make bench writes -->")


LEFT_OUT, FAILED = "left out: ", "failed: "
Results = dict[str, list[Comparison] | str]


def run(script: str, options: Sequence[str]) -> list[Comparison] | str:
    """What a script compares, or why it does not: it fails, or it lacks something that not every machine has."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "comparisons.json"
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{script}",
            "--quick",
            "--comparisons",
            str(file),
            *options,
        ]
        done = subprocess.run(command, check=False, cwd=FOLDER.parent, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            _, lacks, sentence = last.partition(f"{NASError.__name__}: ")
            return LEFT_OUT + sentence if lacks else FAILED + last
        return [Comparison(**row) for row in json.loads(file.read_text())]


def machine() -> str:
    """Processor, cores, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found[1] if found else platform.processor() or platform.machine()
    threads = os.environ.get("OMP_NUM_THREADS")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning"))
    return (
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}; "
        f"{'threads as torch chooses' if threads is None else f'OMP_NUM_THREADS={threads}'}; "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


COLUMNS = ("what is compared", "ours", "reference", "ratio", "spread", "peak memory")


def cells(row: Comparison) -> tuple[str, ...]:
    """A row as it is read."""
    sides = (f"{number(value)} {row.unit}" for value in (row.ours, row.reference))
    return row.name, *sides, number(row.ratio), row.spread, f"{row.peak_megabytes:,.0f} MB"


def number(value: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def terminal(results: Results) -> Table:
    """The table for a terminal."""
    table = Table(COLUMNS[0], title=machine())
    for column in COLUMNS[1:]:
        table.add_column(column, justify="right")
    for script, found in results.items():
        table.add_section()
        table.add_row(f"[bold]{script}[/bold]")
        for row in [(found,)] if isinstance(found, str) else map(cells, found):
            table.add_row(*row)
    return table


def markdown(results: Results) -> list[str]:
    """The lines of the table for the document, with the machine above it."""
    rows = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
    for script, found in results.items():
        rows.append((f"**`benchmarks/{script}.py`**", *[""] * (len(COLUMNS) - 1)))
        rows += [(found, *[""] * (len(COLUMNS) - 1))] if isinstance(found, str) else map(cells, found)
    return [f"{machine()}.", "", *(f"| {' | '.join(row)} |" for row in rows)]


def write(page: Path, table: Sequence[str]) -> None:
    """Puts the table in the place of the one before."""
    before, marked, rest = page.read_text().partition(MARKS[0])
    _, ends, after = rest.partition(MARKS[1])
    if not marked or not ends:
        raise SystemExit(
            f"{page} has no lines {MARKS[0]!r} and {MARKS[1]!r}, between which the table belongs"
        )
    with written_whole(page) as temporary:
        temporary.write_text("\n".join([before + MARKS[0], *table, MARKS[1]]) + after)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--nni", type=Path, metavar="PYTHON", help="also measure NNI, which is installed there"
    )
    arguments.add_argument(
        "--page", type=Path, default=PAGE, help="the document that the table is written into"
    )
    given = arguments.parse_args()
    results = {}
    for script in tqdm(SCRIPTS, desc="benchmarks", unit="script"):
        with_nni = given.nni is not None and script == "training_step"
        results[script] = run(script, ["--nni", str(given.nni)] if with_nni else [])
    Console(width=None if sys.stdout.isatty() else 160).print(terminal(results))
    write(given.page, markdown(results))
    return int(any(isinstance(found, str) and not found.startswith(LEFT_OUT) for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
