import dataclasses
import shlex
import subprocess
from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.launch import Job, script, seconds

JOB = Job(
    command=["fit", "-c", "my configs/a.yaml", "--model.space.channels", "[2, 2, 4]", "--sampler", "$HOME's"],
    run=Path("/runs/of me/density"),
    folder=Path("/home/me"),
    python="/opt/my env/bin/python",
    nodes=2,
    tasks_per_node=4,
    gpus_per_node=4,
    cpus_per_task=8,
    time="1-12:00:00",
    partition="long",
    notice=90,
    options=["--account=vision", "--comment=a b"],
)


def directives(text: str) -> list[str]:
    """The options of sbatch, of which it reads quotes as a shell does."""
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]
    return [word for line in lines for word in shlex.split(line)]


class Pretended:
    """A cluster of commands that write down how they are called."""

    def __init__(
        self, root: Path, code: int = 7, preempt_time: str = "None", leaves: str = "/dev/null"
    ) -> None:
        self.root = root
        for name, body in {
            "srun": f'printf "%s\\n" "$@" >{root}/srun.log; touch {leaves}; exit {code}',
            "sleep": "exit 0",  # SLURM would end the script
            "scontrol": f'echo "$@" >>{root}/scontrol.log; echo "JobId=42 PreemptTime={preempt_time}"',
            "python": "echo 50123",
        }.items():
            (root / name).write_text(f"#!/bin/sh\n{body}\n")
            (root / name).chmod(0o755)
        self.code = code

    def execute(self, job: Job = JOB) -> list[str]:
        """The arguments that the ranks get."""
        job = dataclasses.replace(job, run=self.root, python=str(self.root / "python"))
        environment = {"PATH": f"{self.root}:/usr/bin:/bin", "SLURM_JOB_ID": "42"}
        if job.leaves is not None:
            environment |= {"SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "3"}
        done = subprocess.run(["bash", "-c", script(job)], env=environment, check=False, capture_output=True)
        assert done.returncode == self.code
        words = (self.root / "srun.log").read_text().splitlines()
        return words[words.index("lightning_nas") + 1 :]

    def is_requeued(self, job: Job = JOB, number: str = "42") -> bool:
        self.execute(job)
        log = self.root / "scontrol.log"
        return log.exists() and f"requeue {number}" in log.read_text().splitlines()


def test_what_slurm_is_asked_for() -> None:
    assert directives(script(JOB)) == [
        "--job-name=density",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=8",
        "--time=1-12:00:00",
        "--partition=long",
        "--chdir=/home/me",
        "--output=/runs/of me/density/slurm-%j.out",
        "--open-mode=append",
        "--requeue",
        "--signal=USR1@90",
        "--account=vision",
        "--comment=a b",
    ]


def test_a_cluster_without_gpus_and_with_a_default_partition() -> None:
    text = script(dataclasses.replace(JOB, gpus_per_node=0, partition=None))
    assert "gpus" not in text
    assert "partition" not in text


def test_ranks_get_the_arguments_as_they_were_given(tmp_path: Path) -> None:
    assert Pretended(tmp_path).execute() == list(JOB.command)


def test_a_training_continues_where_there_is_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    cluster = Pretended(tmp_path)
    assert cluster.execute() == [*JOB.command, "--ckpt_path", "last"]
    assert cluster.execute(dataclasses.replace(JOB, command=["validate"])) == ["validate"]


def test_a_job_that_saved_itself_is_requeued(tmp_path: Path) -> None:
    assert Pretended(tmp_path, code=138, leaves=str(tmp_path / "preempted")).is_requeued()


def test_a_job_that_is_preempted_before_it_could_save_itself_is_requeued(tmp_path: Path) -> None:
    assert Pretended(tmp_path, code=143, preempt_time="2026-11-22T15:55:46").is_requeued()


def test_a_job_that_fails_is_not_requeued(tmp_path: Path) -> None:
    (tmp_path / "preempted").touch()  # at an earlier stay on the cluster
    assert not Pretended(tmp_path, code=1).is_requeued()


def test_a_job_that_ends_while_it_is_preempted_is_not_requeued(tmp_path: Path) -> None:
    assert not Pretended(tmp_path, code=0, preempt_time="2026-11-22T15:55:46").is_requeued()


LEAVES = dataclasses.replace(JOB, command=["fit_fewshot", "-c", "a b.yaml"], leaves="0-7%2")


def test_leaves_are_tasks_of_an_array(tmp_path: Path) -> None:
    assert Pretended(tmp_path).execute(LEAVES) == ["fit_fewshot", "-c", "a b.yaml", "--leaf", "3"]
    assert {"--array=0-7%2", "--output=/runs/of me/density/slurm-%A_%a.out"} <= set(
        directives(script(LEAVES))
    )


def test_of_an_array_only_the_leaf_that_saved_itself_is_requeued(tmp_path: Path) -> None:
    (tmp_path / "leaf-2").mkdir()
    (tmp_path / "leaf-3").mkdir()
    cluster = Pretended(tmp_path, code=138, leaves=str(tmp_path / "leaf-3" / "preempted"))
    assert cluster.is_requeued(LEAVES, "42_3")
    assert not cluster.is_requeued(LEAVES, "42")
    (tmp_path / "scontrol.log").unlink()
    other = Pretended(tmp_path, code=1, leaves=str(tmp_path / "leaf-2" / "preempted"))
    assert not other.is_requeued(LEAVES, "42_3")


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("30", 1800),
        ("2:30", 150),
        ("01:02:03", 3723),
        ("2-12", 216000),
        ("1-00:30", 88200),
        ("1-01:00:01", 90001),
    ],
)
def test_limits_in_the_formats_of_slurm(time: str, expected: int) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize("time", ["", "2h", "1:2:3:4", "-5", "1-", "1:2-3"])
def test_other_limits_are_refused(time: str) -> None:
    with pytest.raises(NASError, match="time is "):
        seconds(time)


@pytest.mark.parametrize(
    ("verb", "continues"),
    [("fit", True), ("retrain", True), ("learn", True), ("validate", False), ("fit_fewshot", False)],
)
def test_trainings_continue(verb: str, continues: bool) -> None:
    assert ("--ckpt_path last" in script(dataclasses.replace(JOB, command=[verb]))) == continues
