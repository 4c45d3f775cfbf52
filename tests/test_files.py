import errno
import os
from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.files import require_writable, trouble, written_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")

    def write() -> None:
        with written_whole(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_finished_write_takes_the_place(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with written_whole(target) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".csv"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_files_are_as_readable_as_any(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a") as temporary:
        temporary.write_text("")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", tmp_path / "a" / "b" / "table.json")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        NASError, match=r"^out is '.*table\.json', where nothing can be written: Not a directory$"
    ):
        require_writable(tmp_path / "file" / "b", tmp_path / "file" / "b" / "table.json")


def test_a_disk_that_cannot_be_written_is_told() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    closed = OSError(errno.EACCES, os.strerror(errno.EACCES), "runs/a/metrics.csv")
    assert str(trouble(full)).startswith("a file cannot be written: No space left on device; what was saved")
    assert str(trouble(closed)).startswith("'runs/a/metrics.csv' cannot be written: Permission denied; what")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "none", "a"), OSError("text"), ValueError("a")]
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert trouble(error) is None
