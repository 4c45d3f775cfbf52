import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gloo_workers import GlooPair

# The test processes share the cores, and sums in one thread are the same on every machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets; tests that need them are skipped where there is none."""
    folder = os.environ.get("LIGHTNING_NAS_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"no data sets: LIGHTNING_NAS_DATA is {folder!r}, not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def pair() -> Iterator[GlooPair]:
    """One pair for all tests, or for those that a process of pytest-xdist runs."""
    with GlooPair() as pair:
        yield pair
