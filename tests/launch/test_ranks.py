import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_nas import checkpoint
from lightning_nas.cli import main
from lightning_nas.launch import trouble

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def taken_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that somebody listens at."""
    with contextlib.closing(socket.create_server(("", 0))) as server:
        port: int = server.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        yield port


@pytest.fixture
def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_port_that_is_taken_ends_the_command_in_a_sentence(
    taken_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {
        "NTASKS": 2,
        "NTASKS_PER_NODE": 2,
        "JOB_ID": 7,
        "PROCID": 0,
        "LOCALID": 0,
        "NODEID": 0,
        "NNODES": 1,
    }
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    configs = [str(CONFIGS / "spaces/pooling_small.yaml"), str(CONFIGS / "data/digits.yaml")]
    sentence = f"lightning-nas: rank 0 cannot listen at 127.0.0.1:{taken_port}, because the port is taken"
    with pytest.raises(SystemExit, match=sentence):
        main(
            [
                *("fit", "-c", configs[0], "-c", configs[1], "--trainer.devices", "2"),
                *("--trainer.default_root_dir", str(tmp_path)),
            ]
        )


@pytest.mark.slow
@pytest.mark.parametrize(("here", "said"), [(0, "1/2 clients joined"), (1, "timed out")])
def test_a_rank_that_does_not_come_is_told(free_port: int, tmp_path: Path, here: int, said: str) -> None:
    process = start(here, tmp_path, free_port, seconds=2)
    assert process.wait(timeout=60) == 1
    assert f"lightning-nas: the ranks do not meet at 127.0.0.1:{free_port}: " in output(tmp_path, here)
    assert said in output(tmp_path, here)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "said"),
    [(signal.SIGKILL, "another rank has ended"), (signal.SIGSTOP, "another rank does not answer")],
    ids=["killed", "hangs"],
)
def test_a_rank_that_is_lost_ends_the_other(
    free_port: int, tmp_path: Path, loss: signal.Signals, said: str
) -> None:
    first, second = (start(rank, tmp_path, free_port, seconds=15) for rank in range(2))
    try:
        wait_until((tmp_path / "last.ckpt").exists, first)
        second.send_signal(loss)
        assert first.wait(timeout=60) == 1
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    assert f"lightning-nas: {said}" in output(tmp_path, 0)
    checkpoint.read(tmp_path / "last.ckpt")


def start(rank: int, run: Path, port: int, seconds: int) -> subprocess.Popen[bytes]:
    """One of two processes of a training that would last for minutes."""
    strategy = ["--trainer.strategy", "lightning_nas.launch.PathDDPStrategy"]
    timeout = ["--trainer.strategy.timeout", f"0:00:{seconds:02d}"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    with log(run, rank).open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "lightning_nas", *fit(run), *strategy, *timeout],
            cwd=CONFIGS.parent,
            env={**os.environ, **place, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stdout=file,
            stderr=file,
        )


def fit(run: Path) -> list[str]:
    configs = ["-c", str(CONFIGS / "spaces/pooling_small.yaml"), "-c", str(CONFIGS / "data/digits.yaml")]
    options = {"devices": 2, "max_epochs": 10_000, "enable_progress_bar": "false", "default_root_dir": run}
    flags = [word for name, value in options.items() for word in (f"--trainer.{name}", str(value))]
    # So many epochs take no time to validate.
    return ["fit", *configs, *flags, "--trainer.limit_val_batches", "0", "--data.train_size", "200"]


def log(run: Path, rank: int) -> Path:
    # Not in the run directory, which must be empty.
    return run.with_name(f"{run.name}_rank{rank}.txt")


def output(run: Path, rank: int) -> str:
    return log(run, rank).read_text()


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_other_errors_keep_their_traceback() -> None:
    assert trouble(RuntimeError("Connection reset by peer")) is None
    assert trouble(ValueError("EADDRINUSE")) is None
