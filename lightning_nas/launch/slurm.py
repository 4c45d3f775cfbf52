"""The batch script of a job of SLURM."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_nas.errors import NASError

# Braces of bash are doubled.
TEMPLATE = """\
#!/bin/bash
{directives}

# A port of the first node, where rank 0 listens, that nobody uses now.
export MASTER_PORT=$({python} -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{cpus_per_task}}}

job={job}
run={run}
continued=()
{resume}rm -f "$run/preempted"

# One task per rank. The first that fails ends the others, which would wait for it in vain.
srun --kill-on-bad-exit=1 --cpus-per-task={cpus_per_task} \\
    {command} "${{continued[@]}}"
code=$?

# The same job continues where the run was told to stop and has saved itself, or where SLURM preempts the job before it could.
if [ $code -ne 0 ]; then
    if [ -e "$run/preempted" ] || scontrol show job "$job" | grep -q "PreemptTime=[0-9]"; then
        # SLURM ends this script; its own end could be taken for that of the job.
        scontrol requeue "$job" && sleep 60
    fi
fi
exit $code
"""

RESUME = """\
if [ -e "$run/last.ckpt" ]; then
    continued=(--ckpt_path last)
fi
"""


@dataclass(frozen=True)
class Job:
    """What SLURM is asked for.

    Attributes:
        command: Verb and arguments for ``lightning-nas``.
        run: The run directory.
        folder: The folder that relative paths of the command start from.
        python: The interpreter.
        nodes: Machines.
        tasks_per_node: Ranks on each of them.
        gpus_per_node: GPUs on each of them, one for each rank; 0 for ranks on CPUs.
        cpus_per_task: Cores of each rank.
        time: Limit in a format of SLURM.
        partition: Queue; None for the cluster's default.
        notice: Seconds before the limit at which the run is told to save itself.
        options: More options of sbatch.
        leaves: Those of a few-shot split that are tasks of an array of jobs, in a format of SLURM, each with a run directory
            of its own within ``run``; None for one job.
    """

    command: Sequence[str]
    run: Path
    folder: Path
    python: str
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    time: str
    partition: str | None
    notice: int
    options: Sequence[str]
    leaves: str | None = None


def script(job: Job) -> str:
    """The text of the batch script."""
    run = shlex.quote(str(job.run))
    command = shlex.join([job.python, "-m", "lightning_nas", *job.command])
    number = '"$SLURM_JOB_ID"'
    if job.leaves is not None:
        run += '"/leaf-$SLURM_ARRAY_TASK_ID"'
        command += ' --leaf "$SLURM_ARRAY_TASK_ID"'
        # One task has the number of the array as its own, which would stand for all of them.
        number = '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"'
    return TEMPLATE.format(
        directives="\n".join(f"#SBATCH {shlex.quote(option)}" for option in _directives(job)),
        python=shlex.quote(job.python),
        cpus_per_task=job.cpus_per_task,
        job=number,
        run=run,
        resume=RESUME if job.command[0] in ("fit", "learn", "retrain") else "",
        command=command,
    )


def seconds(time: str) -> int:
    """What a limit in one of SLURM's formats comes to.

    Args:
        time: ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes`` or
            ``days-hours:minutes:seconds``.

    Raises:
        NASError: It is in none of these formats.
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", time):
        raise NASError(
            f"time is {time!r}, but must be minutes, hours:minutes:seconds or days-hours:minutes:seconds"
        )
    days, dash, clock = time.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash:
        parts = [0, *parts] if len(parts) < 3 else parts
    hours, minutes, rest = [*parts, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def _directives(job: Job) -> list[str]:
    return [
        f"--job-name={job.run.name}",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={job.tasks_per_node}",
        *([f"--gpus-per-node={job.gpus_per_node}"] if job.gpus_per_node else []),
        f"--cpus-per-task={job.cpus_per_task}",
        f"--time={job.time}",
        *([f"--partition={job.partition}"] if job.partition else []),
        f"--chdir={job.folder}",
        *([] if job.leaves is None else [f"--array={job.leaves}"]),
        f"--output={job.run}/slurm-{'%j' if job.leaves is None else '%A_%a'}.out",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR1@{job.notice}",
        *job.options,
    ]
