import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from gloo_workers import GlooPair

from lightning_nas.data.beton import require_ffcv
from lightning_nas.errors import NASError

# The test processes share the cores, and sums in one thread are the same on every machine.
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """Skips what needs FFCV, where there is none."""
    with _skipped_without_ffcv():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """The same of tests themselves."""
    with _skipped_without_ffcv():
        return (yield)


@contextmanager
def _skipped_without_ffcv() -> Iterator[None]:
    try:
        yield
    except (NASError, ImportError) as error:
        absent = "FFCV cannot be imported" in str(error) or (getattr(error, "name", None) or "").startswith(
            "ffcv"
        )
        if not absent or os.environ.get("LIGHTNING_NAS_REQUIRE_FFCV"):
            raise
        pytest.skip(f"{error}; `make ffcv` tells how to get it")


@pytest.fixture
def _ffcv() -> None:
    """For tests of what is refused, which would otherwise meet the refusal for want of FFCV."""
    require_ffcv()


@pytest.fixture(autouse=True)
def _no_seed_for_the_next_test() -> Iterator[None]:
    """Lightning keeps the seed of a run in the environment, where later ones would find it."""
    yield
    os.environ.pop("PL_GLOBAL_SEED", None)


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
