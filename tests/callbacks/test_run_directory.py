import sys
from pathlib import Path

import pytest
import short_runs

from lightning_nas import provenance
from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler


def fit(root: Path, epochs: int, resume: bool = False, **flags: bool) -> None:
    trainer = short_runs.trainer(root, UniformSampler(seed=0), max_epochs=epochs, **flags)
    trainer.fit(
        short_runs.supernet_module(),
        datamodule=short_runs.digits(),
        ckpt_path=root / "last.ckpt" if resume else None,
    )


def test_a_run_holds_its_files_and_no_folders(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "environment.json",
        "last.ckpt",
        "metrics.csv",
    ]


def test_training_from_scratch_over_a_run_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(NASError, match=r"already holds a run: continue it from its last\.ckpt"):
        fit(tmp_path, 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_of_another_run_does_not_overwrite_this_one(tmp_path: Path) -> None:
    for name in "ab":
        fit(tmp_path / name, 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    trainer = short_runs.trainer(tmp_path / "b", UniformSampler(seed=0), max_epochs=2)
    with pytest.raises(NASError, match="already holds a run"):
        trainer.fit(
            short_runs.supernet_module(),
            datamodule=short_runs.digits(),
            ckpt_path=tmp_path / "a" / "last.ckpt",
        )
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before


def test_validation_leaves_the_metrics_of_the_run_alone(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    before = short_runs.metrics(tmp_path)
    trainer = short_runs.trainer(tmp_path)
    trainer.validate(short_runs.supernet_module(), datamodule=short_runs.digits(), verbose=False)
    assert short_runs.metrics(tmp_path) == before


def test_a_run_that_logs_nothing_still_has_its_file(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), log_every_n_steps=100, limit_val_batches=0)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert (tmp_path / "metrics.csv").read_text().strip() == "step"


def test_a_dry_run_is_allowed_and_leaves_the_run_alone(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    before = (tmp_path / "last.ckpt").read_bytes()
    fit(tmp_path, 1, fast_dev_run=True)
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_longer_run_continues_the_metrics(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    first = short_runs.metrics(tmp_path)
    fit(tmp_path, 2, resume=True)
    assert short_runs.metrics(tmp_path)[: len(first)] == first
    assert [int(row["step"]) for row in short_runs.metrics(tmp_path)] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7]


def test_metrics_of_a_run_that_left_no_checkpoint_are_replaced(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    (tmp_path / "last.ckpt").unlink()
    fit(tmp_path, 1)
    assert [int(row["step"]) for row in short_runs.metrics(tmp_path)] == [0, 1, 2, 3, 3]


def test_a_run_says_how_it_was_begun_and_validated_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(verb: str) -> str:
        return str(provenance.read(tmp_path)[verb]["command"])

    monkeypatch.setattr(sys, "argv", ["lightning-nas", "fit"])
    fit(tmp_path, 1)
    assert list(provenance.read(tmp_path)) == ["fit"]
    monkeypatch.setattr(sys, "argv", ["lightning-nas", "fit", "--ckpt_path", "last"])
    fit(tmp_path, 2, resume=True)
    assert command("fit") == "lightning-nas fit"
    for verb in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["lightning-nas", verb])
        trainer = short_runs.trainer(tmp_path)
        trainer.validate(short_runs.supernet_module(), datamodule=short_runs.digits(), verbose=False)
    trainer.test(short_runs.supernet_module(), datamodule=short_runs.digits(), verbose=False)
    assert (command("validate"), command("test")) == ("lightning-nas second", "lightning-nas second")
    assert command("fit") == "lightning-nas fit"


def test_a_run_of_an_earlier_version_says_how_it_is_continued(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    (tmp_path / "environment.json").unlink()
    fit(tmp_path, 2, resume=True)
    assert list(provenance.read(tmp_path)) == ["fit"]


def test_a_dry_run_says_nothing_of_itself(tmp_path: Path) -> None:
    fit(tmp_path, 1, fast_dev_run=True)
    assert provenance.read(tmp_path) == {}
