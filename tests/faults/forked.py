"""Commands in processes of their own, forked from one that has imported the package, as tests/fresh_process.py has them."""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from fresh_process import PRELOADED

LIMIT = 120.0
"""Seconds."""


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: Its exit status; that of a signal is negative.
        said: What it wrote on stderr.
        seconds: How long it took.
    """

    code: int
    said: str
    seconds: float


def end_of(job: Callable[..., Any], *args: Any, log: Path) -> End:
    """How a process ends that runs ``job``.

    Args:
        job: A function of a file that is imported by its name.
        args: Its arguments, which can be pickled.
        log: Takes what it says.
    """
    server = _server()
    began = time.monotonic()
    process = server.Process(target=_work, args=(log, job, args))
    process.start()
    process.join(LIMIT)
    process.kill()  # where it still runs
    process.join()
    assert process.exitcode is not None
    return End(process.exitcode, log.read_text(errors="replace"), time.monotonic() - began)


@cache
def _server() -> ForkServerContext:
    """Forks processes, and has imported what they need."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    first = server.Process()
    first.start()
    first.join()
    return server


def command(args: Sequence[str]) -> None:
    """The command line, as ``python -m lightning_nas`` calls it."""
    from lightning_nas.cli import main

    main(list(args))


def _work(log: Path, job: Callable[..., Any], args: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    tempfile.tempdir = str(log.parent)  # where a process that is killed leaves what it was writing
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    job(*args)
