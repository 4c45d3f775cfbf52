"""The metrics of a run in one CSV file that survives interruptions."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_nas.files import written_whole

Row = dict[str, str]


class MetricsFile(Logger):
    """Writes ``metrics.csv``: one row per logged step, one column per metric.

    Lightning's own CSVLogger deletes the file of an interrupted run when it is resumed; this one continues it.

    Args:
        directory: The run directory.
        flush_every: Rows that are kept in memory before they are written.

    Attributes:
        paused: Whether rows are ignored.
    """

    def __init__(self, directory: str | Path, flush_every: int = 50) -> None:
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self.flush_every = flush_every
        self.paused = False
        self._columns: list[str] = []
        self._pending: list[Row] = []
        self._written = 0
        if self.path.is_file():
            rows = self._read()
            self._columns, self._written = list(rows[0]) if rows else [], len(rows)

    @property
    def name(self) -> str:
        """The folder of the logger below the run directory: none."""
        return ""

    @property
    def version(self) -> str:
        """The folder of the attempt below the run directory: none."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    @property
    def rows(self) -> int:
        """Rows logged so far."""
        return self._written + len(self._pending)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds a row, unless paused."""
        if self.paused:
            return
        self._pending.append(
            {"step": str(step), **{key: repr(float(value)) for key, value in metrics.items()}}
        )
        if len(self._pending) >= self.flush_every:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Writes the pending rows."""
        if not self._pending:
            return
        columns = sorted({column for row in self._pending for column in row} - set(self._columns) - {"step"})
        if columns or not self.path.is_file():
            self._columns = (self._columns or ["step"]) + columns
            self._rewrite(self._read() if self.path.is_file() else [])
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerows(self._pending)
        self._written, self._pending = self.rows, []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes the pending rows at the end of a run, however it ended."""
        self.save()

    @rank_zero_only
    def truncate(self, rows: int) -> None:
        """Forgets all but the first ``rows``: what was logged after a checkpoint, and will be logged again.

        The file exists afterwards, even if nothing was logged yet.
        """
        self._pending = []
        kept = self._read()[:rows] if self.path.is_file() else []
        self._columns = self._columns or ["step"]
        self._rewrite(kept)
        self._written = len(kept)

    def _read(self) -> list[Row]:
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[Row]) -> None:
        with written_whole(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
