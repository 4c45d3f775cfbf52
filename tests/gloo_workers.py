"""Two processes that train together, kept for many tests because each takes seconds to import what it needs.

Both run the same job at the same time, as two ranks of one gloo group. Lightning finds the group and joins it.
"""

import contextlib
import importlib
import inspect
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

import torch
from torch import distributed

RANKS = 2

# Seconds.
JOB_LIMIT = 120.0  # a whole job, and the start of the processes with the first one
COLLECTIVE_LIMIT = 60.0  # how long a rank waits for the other, so that it ends even where nobody ends it
GRACE = 10.0  # for the rank that is left when the other has failed: it may wait for it in vain


@dataclass(frozen=True)
class Outcome:
    """What a job came to on one rank.

    Attributes:
        value: What it returned.
        error: The traceback where it failed, else empty.
    """

    value: Any = None
    error: str = ""

    @property
    def message(self) -> str:
        """The last line of the traceback: type and text of the error."""
        return self.error.strip().rpartition("\n")[2]


class GlooPair:
    """Runs jobs on two ranks. The processes start with the first job, and anew after one that broke them."""

    def __init__(self) -> None:
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []
        self._meeting: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
        """What ``job`` returns on every rank.

        Args:
            job: A function of a file in the folder of this one or below.
            args: Its arguments, which can be pickled, as can what it returns.
            options: Its keyword arguments.

        Raises:
            RuntimeError: It failed on some rank.
        """
        outcomes = self.outcomes(job, *args, **options)
        errors = [f"rank {rank}: {outcome.error}" for rank, outcome in enumerate(outcomes) if outcome.error]
        if errors:
            raise RuntimeError("\n".join(errors))
        return [outcome.value for outcome in outcomes]

    def outcomes(self, job: Callable[..., Any], *args: Any, **options: Any) -> list[Outcome]:
        """What ``job`` comes to on every rank, failures included; see ``run``."""
        if not self._processes or not all(process.is_alive() for process in self._processes):
            self.close()
            self._start()
        # Pytest may have imported the file of the job under another name than the one it has here.
        file = Path(inspect.getfile(job)).relative_to(Path(__file__).parent)
        name = ".".join(file.with_suffix("").parts), job.__name__
        message = pickle.dumps((name, args, options, _warning_filters()))
        for pipe in self._pipes:
            pipe.send_bytes(message)
        try:
            outcomes = self._collect()
        except (
            BaseException
        ):  # the test was interrupted, and the answer would be taken for that of the next job
            self.close()
            raise
        # Ranks that failed alike failed at the same place. Otherwise one may have left a message that the
        # next job would take for its own.
        if len({outcome.message for outcome in outcomes}) > 1:
            self.close()
        return outcomes

    def close(self) -> None:
        """Ends the processes. They have nothing to lose, and may be waiting for each other in vain."""
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.join()
            process.close()
            pipe.close()
        if self._meeting:
            self._meeting.cleanup()
        self._processes, self._pipes, self._meeting = [], [], None

    def _start(self) -> None:
        # The ranks find each other through a file: a port may be taken by another process before they use it.
        self._meeting = tempfile.TemporaryDirectory()
        address = (Path(self._meeting.name) / "ranks").as_uri()
        context = multiprocessing.get_context("spawn")
        for rank in range(RANKS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(rank, address, theirs), daemon=True)
            process.start()
            # Only the process may hold its end: then its death is read from the pipe.
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        deadline = time.monotonic() + JOB_LIMIT
        while len(outcomes) < RANKS:
            waiting = [pipe for rank, pipe in enumerate(self._pipes) if rank not in outcomes]
            ready = wait(waiting, max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for pipe in ready:
                assert isinstance(pipe, Connection)
                outcome = _receive(pipe)
                outcomes[self._pipes.index(pipe)] = outcome
                if outcome.error:
                    deadline = min(deadline, time.monotonic() + GRACE)
        missing = Outcome(error="no answer")
        return [outcomes.get(rank, missing) for rank in range(RANKS)]


def ranks() -> int:
    """How many processes run the present job."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def strategy() -> dict[str, Any]:
    """Flags of the Trainer of a job."""
    if ranks() == 1:
        return {"devices": 1}
    return {"devices": ranks(), "strategy": "ddp_find_unused_parameters_true"}


def _receive(pipe: Connection) -> Outcome:
    try:
        outcome: Outcome = pickle.loads(pipe.recv_bytes())
    except (EOFError, ConnectionError):
        return Outcome(error="the process died")
    return outcome


def _warning_filters() -> list[tuple[Any, ...]]:
    """The filters that are in force, as arguments of ``warnings.filterwarnings``."""
    return [
        (action, _pattern(message), category, _pattern(module), line)
        for action, message, category, module, line in warnings.filters
    ]


def _pattern(pattern: Any) -> str:
    return getattr(pattern, "pattern", pattern) or ""


def _work(rank: int, address: str, pipe: Connection) -> None:
    """What each process does: all jobs that come, until the other end of the pipe is gone."""
    # With one thread Lightning leaves the number alone, on which the order of sums depends.
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    limit = timedelta(seconds=COLLECTIVE_LIMIT)
    distributed.init_process_group("gloo", address, rank=rank, world_size=RANKS, timeout=limit)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send_bytes(pickle.dumps(_outcome(pipe.recv_bytes())))


def _outcome(message: bytes) -> Outcome:
    # Lightning takes it away at the end of every run.
    os.environ["WORLD_SIZE"] = str(RANKS)
    try:
        (module, function), args, options, filters = pickle.loads(message)
        with warnings.catch_warnings():
            warnings.resetwarnings()
            for action, text, category, origin, line in filters:
                warnings.filterwarnings(action, text, category, origin, line, append=True)
            return Outcome(getattr(importlib.import_module(module), function)(*args, **options))
    except Exception:  # noqa: BLE001  (told to the one who asked)
        return Outcome(error=traceback.format_exc())
