"""Jobs of two ranks on a real SLURM, which the test starts on this machine."""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import short_runs
from slurm_cluster import Cluster, obstacle

from lightning_nas import checkpoint
from lightning_nas.cli import main

Submit = Callable[..., str]

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
# 30 epochs of 4 batches on two ranks, or of 8 on one.
SMALL = ["-c", str(CONFIGS / "spaces/pooling_small.yaml"), "-c", str(CONFIGS / "data/digits.yaml")]
SMALL += ["--model.space.channels", "[2, 2, 4]", "--data.train_size", "200", "--data.batch_size", "25"]
SMALL += ["--data.val_size", "100", "--data.eval_batch_size", "100", "--trainer.max_epochs", "30"]
SMALL += ["--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false"]
FIT = ["fit", *SMALL, "-c", str(CONFIGS / "logging/wandb.yaml")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := obstacle():
        pytest.skip(f"no SLURM: {reason}")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def submit(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submit:
    """Submits a command, unless given a training of two ranks, into a run directory; returns the number of the job."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    # The name of this machine need not be known to itself.
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("WANDB_MODE", "offline")

    def submit(run: Path, *more: str, command: Sequence[str] = FIT) -> str:
        options = ["--time", "10", "--gpus-per-node", "0", "--tasks-per-node", "2", "--cpus-per-task", "1"]
        main(["submit", *options, *more, "--", *command, "--trainer.default_root_dir", str(run)])
        [job] = re.findall(r"Submitted batch job (\d+)", capsys.readouterr().out)
        return str(job)

    return submit


def output(run: Path, job: str) -> str:
    return (run / f"slurm-{job}.out").read_text()


def test_a_preempted_job_is_requeued_and_ends_as_if_it_had_not_been(
    cluster: Cluster, submit: Submit, tmp_path: Path
) -> None:
    preempted, straight = tmp_path / "preempted run", tmp_path / "straight"
    jobs = [submit(run) for run in (straight, preempted)]
    cluster.wait_for(lambda: (preempted / "last.ckpt").exists(), 120)
    cluster.run("scancel", "--signal=USR1", jobs[1])
    cluster.wait(jobs[1], ("PENDING",), 60)
    # Not after SLURM's two minutes, but later than the second in which the node has ended the job's first stay: it
    # takes the permission of a second one of the same second for that of the first, and refuses it.
    cluster.run("scontrol", "update", f"JobId={jobs[1]}", "StartTime=now+5")
    ends = [cluster.wait(job, ("COMPLETED", "FAILED"), 180) for job in jobs]
    said = output(preempted, jobs[1])
    assert [end["JobState"] for end in ends] == ["COMPLETED", "COMPLETED"], said
    assert [end["Restarts"] for end in ends] == ["0", "1"], said
    states = [checkpoint.read(run / "last.ckpt") for run in (preempted, straight)]
    short_runs.assert_same(*[state["state_dict"] for state in states])
    assert states[0]["global_step"] == 120
    assert short_runs.metrics(preempted) == short_runs.metrics(straight)
    stays = [path.name.rpartition("-")[2] for path in (preempted / "wandb").glob("offline-run-*")]
    assert stays == 2 * [(preempted / "wandb_id.txt").read_text().strip()]


def test_a_preempted_leaf_of_an_array_is_requeued_alone(
    cluster: Cluster, submit: Submit, tmp_path: Path
) -> None:
    run = ["--trainer.default_root_dir", str(tmp_path)]
    main(["split", *SMALL, "--metric", "RandomSplit", "--depth", "1", *run])
    leaves = ["--array", "0-1", "--tasks-per-node", "1"]
    job = submit(tmp_path, *leaves, command=["fit-fewshot", *SMALL, "--ranking.paths", "2"])
    last = f"{job}_1"  # has the number of the whole array
    cluster.wait_for(lambda: (tmp_path / "leaf-1" / "last.ckpt").exists(), 120)
    cluster.run("scancel", "--signal=USR1", last)
    cluster.wait(last, ("PENDING",), 60)
    cluster.run("scontrol", "update", f"JobId={last}", "StartTime=now+5")
    ends = [cluster.wait(f"{job}_{leaf}", ("COMPLETED", "FAILED"), 180) for leaf in range(2)]
    said = (tmp_path / f"slurm-{job}_1.out").read_text()
    assert [end["JobState"] for end in ends] == ["COMPLETED", "COMPLETED"], said
    assert [end["Restarts"] for end in ends] == ["0", "1"], said
    for leaf in range(2):
        assert checkpoint.read(tmp_path / f"leaf-{leaf}" / "last.ckpt")["epoch"] == 29


def kill(job: str, rank: int) -> None:
    """Kills one rank of a job, as a machine does that runs out of memory."""
    marks = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={rank}"}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
            if marks <= set(environment) and b"lightning_nas" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise RuntimeError(f"rank {rank} of job {job} does not run")


def test_a_killed_rank_ends_the_job_and_leaves_its_checkpoint_whole(
    cluster: Cluster, submit: Submit, tmp_path: Path
) -> None:
    job = submit(tmp_path)
    cluster.wait_for(lambda: (tmp_path / "last.ckpt").exists(), 120)
    kill(job, rank=1)
    end = cluster.wait(job, ("COMPLETED", "FAILED"), 60)
    assert (end["JobState"], end["Restarts"]) == ("FAILED", "0")
    assert "task 1: Killed" in output(tmp_path, job)
    assert 4 <= checkpoint.read(tmp_path / "last.ckpt")["global_step"] < 120
    assert not (tmp_path / "preempted").exists()
