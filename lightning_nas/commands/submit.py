"""``lightning-nas submit``: a run as a job of SLURM."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_nas.errors import NASError, require_at_least
from lightning_nas.files import written_whole
from lightning_nas.launch import Job, script, seconds

VERBS = (
    "fit",
    "learn",
    "validate",
    "test",
    "predict",
    "retrain",
    "search",
    "split",
    "fit_fewshot",
    "validate_fewshot",
)


def submit(
    command: list[str],
    *,
    time: str,
    nodes: int = 1,
    gpus_per_node: int = 1,
    tasks_per_node: int | None = None,
    cpus_per_task: int = 4,
    partition: str | None = None,
    notice: int = 120,
    array: str | None = None,
    sbatch: str = "",
    dry_run: bool = False,
) -> None:
    """Run a command as a job of SLURM: ``lightning-nas submit [options] -- fit -c ...``.

    Writes submit.sh into the run directory and hands it to sbatch. A training that reaches the limit of time, or is preempted,
    saves itself after the step it is at and is queued again, as the same job; it continues from its last.ckpt, and so does
    the same command when given again.

    Args:
        command: What stands behind ``--``: a verb that has a trainer, such as fit, with its arguments.
        time: Limit of one stay on the cluster, such as 30 (minutes), 12:00:00 or 2-00:00:00.
        nodes: Machines.
        gpus_per_node: GPUs on each of them, one for each rank; 0 to train on CPUs.
        tasks_per_node: Ranks on each of them; null for one per GPU, or one without GPUs.
        cpus_per_task: Cores of each rank.
        partition: Queue of the cluster; null for its default.
        notice: Seconds before the limit at which the run is told to save itself; longer than one validation takes.
        array: Leaves that fit_fewshot trains, each as a job of an array, in a format of SLURM: 0-7, or 0-7%2 for two at a
            time; null for one job.
        sbatch: More options of sbatch, such as ``--sbatch="--account=vision --mem=64G"``.
        dry_run: Print the script, and write and submit nothing.

    Raises:
        NASError: The command is not understood or names no run directory, an option is out of range, or sbatch is not
            there or refuses.
    """
    command = [*(verb.replace("-", "_") for verb in command[:1]), *command[1:]]
    tasks = _tasks(gpus_per_node, tasks_per_node)
    _check(command, time, notice, nodes=nodes, cpus_per_task=cpus_per_task)
    if not dry_run and shutil.which("sbatch") is None:
        raise NASError(
            "sbatch is not found: submit where SLURM is installed, or give --dry_run to see the script"
        )
    configuration = _configuration(command)
    trainer = configuration["trainer"]
    if array is not None:
        _require_array(array, command[0], configuration)
    run = Path(trainer["default_root_dir"])
    if run == Path("runs/default"):
        raise NASError(
            "the command names no trainer.default_root_dir, which a job needs to continue: give one of its own"
        )
    if configuration.get("leaf") is not None:
        run /= f"leaf-{configuration['leaf']}"  # jobs of other leaves are not to see its signs
    text = script(
        Job(
            command=[*command, *_ranks(trainer, nodes, tasks, gpus_per_node)],
            run=run.absolute(),
            folder=Path.cwd(),
            python=sys.executable,
            nodes=nodes,
            tasks_per_node=tasks,
            gpus_per_node=gpus_per_node,
            cpus_per_task=cpus_per_task,
            time=time,
            partition=partition,
            notice=notice,
            options=shlex.split(sbatch),
            leaves=array,
        )
    )
    if dry_run:
        print(text, end="")
        return
    path = run / "submit.sh"
    with written_whole(path) as temporary:
        temporary.write_text(text)
    done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NASError(f"sbatch refuses {path}: {' '.join(done.stderr.split())}")
    print(f"{done.stdout.strip()}: {path}")


def _tasks(gpus_per_node: int, tasks_per_node: int | None) -> int:
    """Ranks on every node."""
    require_at_least(0, gpus_per_node=gpus_per_node)
    if gpus_per_node and tasks_per_node not in (None, gpus_per_node):
        raise NASError(
            f"tasks_per_node is {tasks_per_node}, but every rank has one GPU and gpus_per_node is {gpus_per_node}: leave it out"
        )
    if tasks_per_node is None:
        return gpus_per_node or 1
    require_at_least(1, tasks_per_node=tasks_per_node)
    return tasks_per_node


def _ranks(trainer: dict[str, Any], nodes: int, tasks: int, gpus_per_node: int) -> list[str]:
    """What the trainer has to be told of the job."""
    told = {"num_nodes": nodes, "devices": tasks, "accelerator": "gpu" if gpus_per_node else "cpu"}
    if nodes * tasks > 1 and trainer["strategy"] == "auto":
        # A step trains some paths, and leaves the parameters of all others unused.
        told["strategy"] = "ddp_find_unused_parameters_true"
    return [word for key, value in told.items() for word in (f"--trainer.{key}", str(value))]


def _check(command: Sequence[str], time: str, notice: int, **numbers: int) -> None:
    if not command:
        raise NASError(
            "submit needs a command behind --, such as: submit --time 12:00:00 -- fit -c config.yaml"
        )
    if command[0] not in VERBS:
        raise NASError(f"submit cannot run {command[0]!r}: valid are {', '.join(VERBS)}")
    require_at_least(1, **numbers)
    if not 0 < notice < seconds(time):
        raise NASError(
            f"notice is {notice} seconds, but must be at least 1 and shorter than time, which is {time}"
        )


def _require_array(array: str, verb: str, configuration: dict[str, Any]) -> None:
    if verb != "fit_fewshot":
        raise NASError(
            f"array is {array!r}, but {verb} is one job: valid with fit_fewshot, whose leaves are several"
        )
    for key in ("leaf", "halving"):
        if configuration.get(key) is not None:
            raise NASError(f"array is {array!r}, but {key} is given, too: leave one of the two out")


def _configuration(command: Sequence[str]) -> dict[str, Any]:
    """What the command adds up to, as the job will read it: a mistake is better told now than when the job starts.

    Raises:
        NASError: The command is not understood.
    """
    words = [sys.executable, "-m", "lightning_nas", *command, "--print_config"]
    read = subprocess.run(words, capture_output=True, text=True, check=False)
    if read.returncode:
        last = read.stderr.strip().rpartition("\n")[2]
        raise NASError(
            last.removeprefix("lightning-nas: ") or f"the command is not understood: {shlex.join(command)}"
        )
    configuration: dict[str, Any] = yaml.safe_load(read.stdout)
    return configuration
