"""Jobs in processes of their own, forked from one that has imported the package: so they start in no time."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

PRELOADED = ["lightning_nas.cli", "lightning_nas.data.beton_decoder"]
"""What takes seconds to import; the second needs FFCV, and is left out where there is none."""


def run(job: Callable[..., Any], *args: Any) -> Any:
    """What ``job`` returns or raises in a process that nothing else has run in.

    Args:
        job: A function of a file that is imported by its name, not of a test file.
        args: Its arguments, which can be pickled, as can what it returns.

    Raises:
        BrokenProcessPool: The process was killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # Sums in one thread, as the test processes have them.
    with ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.submit(job, *args).result()
