import contextlib
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed

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


def test_a_rank_that_does_not_come_is_told() -> None:
    with pytest.raises(distributed.DistStoreError) as missing:
        distributed.TCPStore(  # type: ignore[attr-defined]  # torch does not say that it is public
            "127.0.0.1", 0, 2, is_master=True, timeout=timedelta(seconds=1)
        )
    found = trouble(missing.value)
    assert found is not None
    assert found.startswith("the ranks do not meet at ")
    assert "1/2 clients joined" in found


def test_other_errors_keep_their_traceback() -> None:
    assert trouble(RuntimeError("Connection reset by peer")) is None
    assert trouble(ValueError("EADDRINUSE")) is None
