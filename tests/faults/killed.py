"""Kills the process of a training at a chosen moment."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faults.forked import command
from lightning import Trainer
from lightning.pytorch.trainer import call

Moment = tuple[int, int]
"""An optimizer step, and how many times callbacks were called since it was taken."""


@dataclass(frozen=True)
class Kill:
    """When a process is killed, and how.

    Attributes:
        moment: The earliest moment.
        how: ``called``: by SIGKILL, before callbacks are called. ``torn``: by the kernel, in the middle of the next file
            that has half the size of a checkpoint. ``written``: by SIGKILL, when the next checkpoint is written, but has
            not taken its name.
    """

    moment: Moment
    how: Literal["called", "torn", "written"]


def watched(args: Sequence[str], file: Path) -> None:
    """Runs a command, and writes the moments of its training.

    Args:
        args: The command line.
        file: Takes them, as JSON.
    """
    moments: list[Moment] = []
    _at_every_moment(lambda _, moment: moments.append(moment))
    command(args)
    file.write_text(json.dumps(moments))


def killed(args: Sequence[str], kill: Kill) -> None:
    """Runs a command until it is killed."""

    def look(trainer: Trainer, moment: Moment) -> None:
        if moment >= kill.moment:
            _die(kill.how, Path(trainer.default_root_dir) / "last.ckpt")

    _at_every_moment(look)
    command(args)


def filled(args: Sequence[str], moment: Moment, size: int) -> None:
    """Runs a command that can write no file larger than a size from a moment on, which fails as on a full disk.

    Args:
        args: The command line.
        moment: When.
        size: Bytes.
    """

    def look(_: Trainer, now: Moment) -> None:
        if now >= moment:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    _at_every_moment(look)
    command(args)


def _at_every_moment(look: Callable[[Trainer, Moment], object]) -> None:
    usual, now = call._call_callback_hooks, [0, 0]

    def hook(trainer: Trainer, name: str, *args: Any, **options: Any) -> None:
        step = trainer.global_step
        now[:] = [step, now[1] + 1 if step == now[0] else 0]
        look(trainer, (now[0], now[1]))
        usual(trainer, name, *args, **options)

    call._call_callback_hooks = hook  # type: ignore[assignment]  # what its callers give


def _die(how: str, last: Path) -> None:
    if how == "torn" and last.exists():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (last.stat().st_size // 2, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would raise an error instead
    elif how == "written":
        sys.addaudithook(_die_before_renaming)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_before_renaming(event: str, args: tuple[Any, ...]) -> None:
    if event == "os.rename" and str(args[1]).endswith("last.ckpt"):
        os.kill(os.getpid(), signal.SIGKILL)
