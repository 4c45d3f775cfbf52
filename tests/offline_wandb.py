"""Reads the file in which wandb keeps an offline run until it is uploaded: what a user would see on the site."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined] # its stubs are another version

BLOCK = 32768
WHOLE, LAST = 1, 4


@dataclass
class Attempt:
    """One opening of a run.

    Attributes:
        id: Of the run.
        resumes: Whether it continues a run of this id, if there is one.
        rows: The history, with the names of media and what is known of them.
        axes: The metric over which another one is drawn; ``*`` stands for all that have none of their own.
        config: What was logged as the configuration.
        artifacts: Names of files by name of the artifact.
        files: The folder of tables and images.
    """

    files: Path
    id: str = ""
    name: str = ""
    project: str = ""
    resumes: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None

    def column(self, *names: str) -> list[tuple[Any, ...]]:
        """The values of the rows that have all of these names."""
        return [tuple(row[name] for name in names) for row in self.rows if all(name in row for name in names)]

    def table(self, name: str, number: int) -> Any:
        """The rows of a table, as dictionaries."""
        content = json.loads((self.files / self.column(name)[number][0]["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def attempts(root: Path) -> list[Attempt]:
    """All openings of the runs in a run directory, the oldest first."""
    wandb.teardown()  # the process that writes the files may be behind
    return [_read(path) for path in sorted(root.glob("wandb/offline-run-*/*.wandb"))]


def _read(path: Path) -> Attempt:
    attempt = Attempt(path.parent / "files")
    for record in _records(path.read_bytes()):
        match record.WhichOneof("record_type"):
            case "run":
                attempt.id, attempt.resumes = record.run.run_id, record.run.resume
                attempt.name, attempt.project = record.run.display_name, record.run.project
            case "history":
                attempt.rows.append(_nested(record.history.item))
            case "metric":
                metric = record.metric
                attempt.axes[metric.name or metric.glob_name] = metric.step_metric
            case "config":
                attempt.config |= _nested(record.config.update)
            case "artifact":
                contents = record.artifact.manifest.contents
                attempt.artifacts[record.artifact.name] = [entry.path for entry in contents]
            case "exit":
                attempt.exit_code = record.exit.exit_code
    return attempt


def _nested(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        inner = values
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return values


def _records(content: bytes) -> Iterator[Record]:
    """The records of a log in LevelDB's format: blocks of pieces, each behind checksum, length and kind."""
    position, record = 7, b""  # behind the header of the file
    while position + 7 <= len(content):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (WHOLE, LAST):
            yield Record.FromString(record)
            record = b""
