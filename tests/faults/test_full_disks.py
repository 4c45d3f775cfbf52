"""A disk that is full or cannot be written ends a training in a sentence, and takes nothing that was saved before."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import short_runs
import torch
from faults.forked import command, end_of
from faults.killed import filled

from lightning_nas import checkpoint

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
# 3 epochs of 4 steps, with a checkpoint after every step.
FIT = [
    *("fit", "-c", str(CONFIGS / "spaces/pooling_small.yaml"), "-c", str(CONFIGS / "data/digits.yaml")),
    *("--sampler", "PathImportanceSampler"),
    *(
        "--trainer.max_epochs",
        "3",
        "--trainer.check_val_every_n_epoch",
        "1",
        "--trainer.log_every_n_steps",
        "1",
    ),
    *(
        "--data.train_size",
        "100",
        "--data.batch_size",
        "25",
        "--data.val_size",
        "100",
        "--ranking.paths",
        "2",
    ),
    *("--trainer.callbacks+", "lightning_nas.callbacks.RunCheckpoint"),
    *("--trainer.callbacks.every_n_train_steps", "1", "--trainer.enable_progress_bar", "false"),
    *(
        "--trainer.enable_model_summary",
        "false",
        "--data.eval_batch_size",
        "100",
        "--trainer.default_root_dir",
    ),
]
CONTINUED = ["--ckpt_path", "last"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbs."""
    root = tmp_path_factory.mktemp("straight")
    assert end_of(command, [*FIT, str(root)], log=root.with_suffix(".txt")).code == 0
    return root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 16 MB; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") and mount(folder, "size=16m")
    if not mounted:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def assert_ends_as(root: Path, straight: Path, log: Path) -> None:
    """The run goes on, and ends like the one that nothing disturbed."""
    end = end_of(command, [*FIT, str(root), *(CONTINUED if (root / "last.ckpt").exists() else [])], log=log)
    assert end.code == 0, end.said
    one, other = (torch.load(run / "last.ckpt", weights_only=True) for run in (straight, root))
    for key in ("state_dict", "optimizer_states", "callbacks"):
        short_runs.assert_same(other[key], one[key])
    assert short_runs.metrics(root) == short_runs.metrics(straight)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (3, 0.5), (6, 0.0), (7, 0.9), (8, 0.01)])
def test_no_room_for_a_file(tmp_path: Path, straight: Path, step: int, share: float) -> None:
    """From a step on, files may have only a share of the size of a checkpoint."""
    root, said = tmp_path / "run", tmp_path / "said"
    size = int(share * (straight / "last.ckpt").stat().st_size)
    # Its own words need room too.
    end = end_of(filled, [*FIT, str(root)], (step, 0), max(size, 4096), log=said)
    assert end.code == 1, end.said
    assert "Traceback" not in end.said
    last = end.said.splitlines()[-1]
    assert last.startswith("lightning-nas: ")
    assert "cannot be written: File too large; what was saved before is whole" in last
    if step > 1:
        assert checkpoint.read(root / "last.ckpt")["global_step"] >= step - 1
    assert_ends_as(root, straight, said)


def test_a_full_disk(tmp_path: Path, straight: Path, disk: Path) -> None:
    root, said = disk / "run", tmp_path / "said"
    filling = disk / "filling"
    with filling.open("wb") as file:  # leaves room for one checkpoint and a half
        file.write(bytes(16 * 2**20 - int(1.5 * (straight / "last.ckpt").stat().st_size) - 2**17))
    end = end_of(command, [*FIT, str(root)], log=said)
    assert end.code == 1, end.said
    assert "Traceback" not in end.said
    assert "cannot be written: No space left on device; what" in end.said.splitlines()[-1]
    assert checkpoint.read(root / "last.ckpt")["global_step"] >= 1
    filling.unlink()
    assert_ends_as(root, straight, said)


def test_a_disk_that_cannot_be_written(tmp_path: Path, disk: Path) -> None:
    root, said = disk / "run", tmp_path / "said"
    one = [*FIT, str(root), "--trainer.max_epochs", "1", "--model.schedule", "constant"]
    assert end_of(command, one, log=said).code == 0
    before = (root / "last.ckpt").read_bytes()
    assert mount(disk, "remount,ro")
    end = end_of(command, [*one, *CONTINUED, "--trainer.max_epochs", "2"], log=said)
    assert end.code == 1, end.said
    assert "Traceback" not in end.said
    assert "cannot be written: Read-only file system; what" in end.said.splitlines()[-1]
    assert (root / "last.ckpt").read_bytes() == before
    assert mount(disk, "remount,rw")
    end = end_of(command, [*one, *CONTINUED, "--trainer.max_epochs", "2"], log=said)
    assert end.code == 0, end.said
    assert checkpoint.read(root / "last.ckpt")["epoch"] == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    end = end_of(command, [*FIT, str(tmp_path / "file" / "run")], log=tmp_path / "said")
    assert end.code == 1, end.said
    assert "Traceback" not in end.said
    assert (
        f"'{tmp_path / 'file' / 'run'}' cannot be written: Not a directory; what" in end.said.splitlines()[-1]
    )
    assert (tmp_path / "file").read_text() == ""
