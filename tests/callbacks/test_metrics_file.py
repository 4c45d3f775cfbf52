import csv
from pathlib import Path

import torch

from lightning_nas.callbacks import MetricsFile


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_columns_grow(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path, flush_every=2)
    logger.log_metrics({"a": 0.1}, step=0)
    assert not (tmp_path / "metrics.csv").exists()
    logger.log_metrics({"a": 0.2}, step=1)
    assert rows(tmp_path) == [{"step": "0", "a": "0.1"}, {"step": "1", "a": "0.2"}]
    logger.log_metrics({"b": torch.tensor(3.0)}, step=1)  # type: ignore[dict-item]
    logger.finalize("success")
    assert rows(tmp_path)[0] == {"step": "0", "a": "0.1", "b": ""}
    assert rows(tmp_path)[2] == {"step": "1", "a": "", "b": "3.0"}


def test_an_earlier_file_is_continued(tmp_path: Path) -> None:
    for start in (0, 10):
        logger = MetricsFile(tmp_path)
        assert logger.rows == (0 if start == 0 else 3)
        for step in range(start, start + 3):
            logger.log_metrics({"loss": float(step)}, step=step)
        logger.save()
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "10", "11", "12"]


def test_truncate_forgets_written_and_pending_rows(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path)
    for step in range(4):
        logger.log_metrics({"loss": float(step)}, step=step)
    logger.save()
    logger.log_metrics({"loss": 9.0}, step=9)
    logger.truncate(2)
    logger.log_metrics({"loss": 5.0}, step=2)
    logger.save()
    assert [row["loss"] for row in rows(tmp_path)] == ["0.0", "1.0", "5.0"]
    assert logger.rows == 3


def test_numbers_are_written_to_the_last_digit(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    logger = MetricsFile(tmp_path)
    logger.log_metrics({"x": value, "y": float("nan")}, step=0)
    logger.save()
    assert float(rows(tmp_path)[0]["x"]) == value
    assert rows(tmp_path)[0]["y"] == "nan"


def test_a_file_appears_when_a_run_begins_and_not_before(tmp_path: Path) -> None:
    MetricsFile(tmp_path).finalize("success")
    assert not list(tmp_path.iterdir())
    MetricsFile(tmp_path).truncate(0)
    assert rows(tmp_path) == []


def test_a_paused_logger_ignores_rows(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path)
    logger.paused = True
    logger.log_metrics({"loss": 1.0}, step=0)
    assert logger.rows == 0
