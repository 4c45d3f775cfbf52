"""Where the results in a folder come from: the command, the versions and the machine that made them."""

import functools
import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.latency.conditions import Device, device_name

FILE = "environment.json"
PACKAGES = ("torch", "lightning", "lightning-nas")
SECONDS = 10  # no run waits longer for git

Facts = dict[str, Any]
"""What one verb was run with, in plain types."""


def record(folder: Path, verb: str, device: Device = "cpu", processes: int = 1) -> None:
    """Writes how a verb was run into ``environment.json``, beside what it says of other verbs.

    Args:
        folder: Where the results are.
        verb: What was done, such as ``fit``; its earlier entry is replaced.
        device: On what.
        processes: By how many, from 1.

    Raises:
        NASError: The file is there, but is no such file.
    """
    known = read(folder)
    known[verb] = _facts(device, processes)
    with written_whole(folder / FILE) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n")


def read(folder: Path) -> dict[str, Facts]:
    """The facts by verb; none where nothing was recorded.

    Raises:
        NASError: The file is not what ``record`` writes.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        known = json.loads(file.read_text())
    except ValueError as error:
        raise NASError(f"{file} is no JSON: remove it") from error
    if not isinstance(known, dict) or not all(isinstance(facts, dict) for facts in known.values()):
        raise NASError(f"{file} does not say with what every verb was run: remove it")
    return known


def _facts(device: Device, processes: int) -> Facts:
    return {
        "command": _command(),
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": device_name(device),
        "processes": processes,
        "commit": _commit(),
    }


def _command() -> str:
    """The command line of this process, as a user types it."""
    script = Path(sys.argv[0])
    own = script.name == "lightning-nas" or script.parts[-2:] == ("lightning_nas", "__main__.py")
    return shlex.join([*(["lightning-nas"] if own else ["python", str(script)]), *sys.argv[1:]])


@functools.cache
def _commit() -> str | None:
    """The commit of this package's code, with ``-dirty`` behind it if files are changed; None where it is not under git."""
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent)]
    # The second names a commit only of a folder that git keeps: an environment may lie within somebody else's repository.
    steps = (
        ["ls-files", "--error-unmatch", Path(__file__).name],
        ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    try:
        for step in steps:
            done = subprocess.run([*git, *step], capture_output=True, text=True, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
