"""Files are written whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_nas.errors import NASError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNWRITABLE = {*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO}
"""What the system says where nothing more can be written, and where nothing can."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place only if the block succeeds.

    Args:
        path: The file to write; its folder is created.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "folder" / "note.txt"
        >>> with written_whole(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because writers such as matplotlib choose the format by it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the mode that an ordinary open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: Path, path: Path) -> None:
    """Refuses a folder in which nothing can be written, before hours of work are to be written there; makes it otherwise.

    Args:
        folder: The folder.
        path: What a user gave as ``out``: the folder, or a file in it.

    Raises:
        NASError: Nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise NASError(f"out is {str(path)!r}, where nothing can be written: {error.strerror}") from error


def is_full(error: BaseException) -> bool:
    """Whether there was no room for a file."""
    return isinstance(error, OSError) and error.errno in FULL


def trouble(error: BaseException) -> str | None:
    """A sentence for a disk that is full or cannot be written; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
        return None
    name = "a file" if error.filename is None else repr(str(error.filename2 or error.filename))
    return (
        f"{name} cannot be written: {error.strerror}; what was saved before is whole, and a training continues from its "
        "last.ckpt (--ckpt_path last) when that is mended"
    )
