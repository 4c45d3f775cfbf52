from pathlib import Path
from typing import Any

import pytest
import short_runs
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import SimpleProfiler

from lightning_nas.callbacks import MetricsFile, RunCheckpoint, RunDirectory
from lightning_nas.run_trainer import Unprofiled
from lightning_nas.trainer import NASTrainer


def test_everything_of_a_run_lies_in_its_directory(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path)
    assert trainer.default_root_dir == str(tmp_path)
    [logger] = trainer.loggers
    assert isinstance(logger, MetricsFile)
    assert logger.path == tmp_path / "metrics.csv"
    assert trainer.log_dir == str(tmp_path)


def test_flags_of_the_trainer_keep_their_meaning(tmp_path: Path) -> None:
    timer = Timer()
    trainer = NASTrainer(
        default_root_dir=str(tmp_path), logger=False, callbacks=timer, accelerator="cpu", max_steps=7
    )
    assert trainer.loggers == []
    assert trainer.max_steps == 7
    assert timer in trainer.callbacks  # type: ignore[attr-defined]
    kinds = [type(callback) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    assert kinds.count(RunDirectory) == kinds.count(RunCheckpoint) == 1


def test_metrics_are_kept_beside_other_loggers(tmp_path: Path) -> None:
    other = CSVLogger(tmp_path / "other")
    trainer = NASTrainer(default_root_dir=str(tmp_path), logger=other, accelerator="cpu")
    assert [type(logger) for logger in trainer.loggers] == [CSVLogger, MetricsFile]
    own = MetricsFile(tmp_path)
    assert NASTrainer(default_root_dir=str(tmp_path), logger=[own], accelerator="cpu").loggers == [own]


def test_barebones_is_bare(tmp_path: Path) -> None:
    trainer = NASTrainer(default_root_dir=str(tmp_path), barebones=True, accelerator="cpu", max_steps=2)
    assert trainer.loggers == []
    assert trainer.checkpoint_callbacks == []


def test_callbacks_that_are_none_are_left_out(tmp_path: Path) -> None:
    trainer = NASTrainer(default_root_dir=str(tmp_path), callbacks=[None], accelerator="cpu")  # type: ignore[list-item]
    assert None not in trainer.callbacks  # type: ignore[attr-defined]


def test_an_interrupted_measurement_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_nas.groundtruth.measure", interrupted)
    with pytest.raises(SystemExit, match="the same command continues"):
        short_runs.trainer(tmp_path).groundtruth(short_runs.supernet_module(), short_runs.digits())


@pytest.mark.slow
def test_groundtruth_says_how_far_it_can_be_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = short_runs.supernet_module()
    short_runs.trainer(tmp_path, max_epochs=1, limit_train_batches=1).groundtruth(
        module, short_runs.digits(), seeds=2
    )
    out = capsys.readouterr().out
    assert "9 paths, 2 seeds" in out
    assert "ceiling of any tau" in out


def test_lightning_does_not_save_within_the_handler_of_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NTASKS", "NTASKS_PER_NODE", "JOB_ID", "NNODES"):
        monkeypatch.setenv(f"SLURM_{name}", "1")
    environment = short_runs.trainer(tmp_path, devices=1)._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


def test_profiling_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    def profiler(**flags: Any) -> object:
        return NASTrainer(default_root_dir=str(tmp_path), **flags).profiler  # type: ignore[attr-defined]

    assert isinstance(profiler(), Unprofiled)
    assert isinstance(profiler(profiler="simple"), SimpleProfiler)
    assert not isinstance(profiler(barebones=True), Unprofiled)
