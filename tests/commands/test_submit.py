from pathlib import Path
from typing import Any

import pytest

from lightning_nas.cli import main
from lightning_nas.commands import run as run_command
from lightning_nas.commands import submit
from lightning_nas.errors import NASError

CONFIGS = Path(__file__).parents[2] / "configs"
FIT = ["fit", "-c", f"{CONFIGS}/spaces/pooling_small.yaml", "-c", f"{CONFIGS}/data/digits.yaml"]


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the trainer of any command is taken to be, without the seconds that it takes to find out."""
    trainer: dict[str, Any] = {"default_root_dir": str(tmp_path / "run"), "strategy": "auto"}
    module = __import__("sys").modules["lightning_nas.commands.submit"]
    monkeypatch.setattr(module, "_configuration", lambda *_: {"trainer": trainer})
    return trainer


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pretended sbatch, in a folder of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text('#!/bin/sh\necho "Submitted batch job 42"\n')
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    run_command("submit", [*options, "--dry-run", "--", *FIT])
    return capsys.readouterr().out


@pytest.mark.usefixtures("understood")
def test_a_dry_run_prints_the_script_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "--time", "2:00:00", "--nodes=2", "--gpus-per-node", "4", "--partition", "long")
    assert text.startswith("#!/bin/bash\n")
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--partition=long"):
        assert f"#SBATCH {line}\n" in text
    assert "--trainer.num_nodes 2 --trainer.devices 4 --trainer.accelerator gpu" in text
    assert "--trainer.strategy ddp_find_unused_parameters_true" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("understood")
def test_ranks_without_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--time", "30", "--gpus-per-node", "0", "--tasks-per-node", "2")
    assert "--trainer.num_nodes 1 --trainer.devices 2 --trainer.accelerator cpu" in text


@pytest.mark.usefixtures("understood")
def test_options_from_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    [file] = (CONFIGS / "slurm").iterdir()
    text = printed(capsys, "--config", str(file), "--nodes", "3")
    for line in (
        "--nodes=3",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=8",
        "--time=12:00:00",
    ):
        assert f"#SBATCH {line}\n" in text
    assert "#SBATCH --signal=USR1@300\n" in text


@pytest.mark.parametrize(("strategy", "gpus"), [("auto", "1"), ("fsdp", "2")])
def test_the_strategy_is_chosen_only_where_one_is_needed(
    understood: dict[str, Any], capsys: pytest.CaptureFixture[str], strategy: str, gpus: str
) -> None:
    understood["strategy"] = strategy
    assert "--trainer.strategy" not in printed(capsys, "--time", "30", "--gpus-per-node", gpus)


LEAVES = ["fit-fewshot", *FIT[1:]]


@pytest.mark.usefixtures("understood", "cluster")
def test_leaves_are_submitted_as_an_array(tmp_path: Path) -> None:
    submit(LEAVES, time="30", array="0-7")
    script = (tmp_path / "run" / "submit.sh").read_text()
    assert "#SBATCH --array=0-7\n" in script
    assert f'run={tmp_path}/run"/leaf-$SLURM_ARRAY_TASK_ID"\n' in script
    assert "-m lightning_nas fit_fewshot -c" in script


@pytest.mark.usefixtures("cluster")
def test_the_job_of_one_leaf_is_in_its_run_directory(
    tmp_path: Path, understood: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__("sys").modules["lightning_nas.commands.submit"]
    monkeypatch.setattr(module, "_configuration", lambda *_: {"trainer": understood, "leaf": 3})
    submit([*LEAVES, "--leaf", "3"], time="30")
    assert f"run={tmp_path}/run/leaf-3\n" in (tmp_path / "run" / "leaf-3" / "submit.sh").read_text()
    with pytest.raises(NASError, match="array is '0-7', but leaf is given, too"):
        submit([*LEAVES, "--leaf", "3"], time="30", array="0-7")


@pytest.mark.usefixtures("understood")
def test_other_verbs_are_no_array() -> None:
    with pytest.raises(NASError, match="array is '0-7', but fit is one job: valid with fit_fewshot"):
        submit(FIT, time="30", array="0-7", dry_run=True)


@pytest.mark.usefixtures("understood", "cluster")
def test_a_job_is_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submit(FIT, time="30", sbatch="--account=vision --comment='a b'")
    script = tmp_path / "run" / "submit.sh"
    assert capsys.readouterr().out == f"Submitted batch job 42: {script}\n"
    assert "#SBATCH --account=vision\n#SBATCH '--comment=a b'\n" in script.read_text()


@pytest.mark.usefixtures("understood")
def test_what_sbatch_refuses_is_told(cluster: Path) -> None:
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    with pytest.raises(NASError, match=r"sbatch refuses .*submit\.sh: sbatch: error: invalid partition"):
        submit(FIT, time="30")


def test_sbatch_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NASError, match="sbatch is not found"):
        submit(FIT, time="30")


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ([], {}, "submit needs a command behind --"),
        (
            ["convert"],
            {},
            "submit cannot run 'convert': valid are fit, learn, validate, test, predict, retrain",
        ),
        (FIT, {"time": "1 day"}, "time is '1 day', but must be"),
        (FIT, {"time": "2"}, "notice is 120 seconds, but must be .* shorter than time, which is 2"),
        (FIT, {"notice": 0}, "notice is 0 seconds"),
        (FIT, {"nodes": 0}, "nodes is 0: valid are numbers from 1"),
        (FIT, {"cpus_per_task": 0}, "cpus_per_task is 0: valid are numbers from 1"),
        (FIT, {"gpus_per_node": -1}, "gpus_per_node is -1: valid are numbers from 0"),
        (FIT, {"gpus_per_node": 2, "tasks_per_node": 4}, "tasks_per_node is 4, but every rank has one GPU"),
        (FIT, {"gpus_per_node": 0, "tasks_per_node": 0}, "tasks_per_node is 0: valid are numbers from 1"),
    ],
)
def test_what_cannot_work_is_refused(command: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        submit(command, **{"time": "30", "dry_run": True, **options})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "the command names no trainer.default_root_dir"),
        (["--sampler", "Fair"], "--sampler is 'Fair': valid are "),
    ],
)
def test_a_mistake_in_the_command_is_told_before_it_is_submitted(more: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=f"lightning-nas: .*{message}"):
        main(["submit", "--time", "30", "--dry-run", "--", *FIT, *more])


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command("submit", ["--help"])
    assert "--gpus_per_node" in capsys.readouterr().out
