"""What two ranks score, log and write is what one process does, and rank 0 alone writes it."""

import csv
import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import offline_wandb
import pytest
import short_runs
import wandb
from distributed_runs import GLOBAL_BATCH, POOLING, UNIFORM, MakeSampler, train
from gloo_workers import GlooPair, rank, strategy
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_nas.callbacks import (
    Forgetting,
    GradientSimilarity,
    Ranking,
    SamplingStatistics,
    Trainability,
    WandbRun,
)
from lightning_nas.spaces import NormPolicy

pytestmark = pytest.mark.slow


def train_with_statistics(root: Path) -> dict[str, Any]:
    return train(root / str(rank()), UNIFORM, SamplingStatistics(), limit_val_batches=0)


def train_with_diagnoses(root: Path) -> dict[str, Any]:
    diagnoses: list[Callback] = [
        GradientSimilarity(pairs=3, probe_size=16),
        Forgetting(steps=2, probe_size=50),
    ]
    diagnoses += [Trainability(every_n_steps=2)]
    return train(root / str(rank()), UNIFORM, *diagnoses, limit_val_batches=0)


def validate(root: Path, options: dict[str, Any], eval_batch_size: int) -> dict[str, Any]:
    """Each rank has a folder of its own, so that it shows who writes."""
    module = short_runs.supernet_module(**options)
    ranking = Ranking(recalibrate=40 if "norm" in options else 0, by_batches=True)
    trainer = short_runs.trainer(root / str(rank()), ranking, **strategy())
    images = short_runs.digits(eval_batch_size=eval_batch_size)
    [logged] = trainer.validate(module, datamodule=images, verbose=False)
    scores = module.evaluator.scores()
    return {
        "images": int(module.evaluator.metric.images),
        "own paths": len(module.evaluator.share),
        "accuracy": scores.accuracy.tolist(),
        "loss": scores.loss.tolist(),
        "logged": logged,
    }


def train_with_wandb(root: Path) -> None:
    folders = {f"WANDB_{name}_DIR": str(root.parent / name) for name in ("DATA", "CACHE", "CONFIG")}
    with patch.dict(os.environ, folders, WANDB_SILENT="true"):
        train(root, UNIFORM, Ranking(), logger=WandbRun(offline=True))
        wandb.teardown()


def train_in_own_folder(root: Path, sampler: MakeSampler) -> dict[str, Any]:
    return train(root / str(rank()), sampler, Ranking())


@pytest.mark.parametrize("eval_batch_size", [25, 20, 30], ids=["even", "odd", "last is smaller"])
@pytest.mark.parametrize(
    "options",
    [{}, {"space": POOLING}, {"space": POOLING, "norm": NormPolicy(running_stats=True)}],
    ids=["toy", "batch-norm", "recalibrated"],
)
def test_validation_counts_every_image_once(
    pair: GlooPair, tmp_path: Path, options: dict[str, Any], eval_batch_size: int
) -> None:
    """Every rank scores its paths on all batches, so that even batch statistics are those of a single process."""
    together = pair.run(validate, tmp_path / "ranks", options, eval_batch_size)
    alone = validate(tmp_path / "alone", options, eval_batch_size)
    assert {scored.pop("images") for scored in together} == {alone.pop("images")} == {100}
    assert sum(scored.pop("own paths") for scored in together) == alone.pop("own paths")
    for scored in together:
        assert scored["accuracy"] == alone["accuracy"]
        assert scored["loss"] == pytest.approx(alone["loss"], rel=1e-12)
    assert together[0]["logged"] == pytest.approx(alone["logged"], rel=1e-12)


def test_the_ranking_is_written_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(validate, tmp_path / "ranks", {}, 20)
    validate(tmp_path / "alone", {}, 20)
    assert not (tmp_path / "ranks" / "1").exists()
    parts = [f"scores/batches_000{batches}.csv" for batches in (1, 2, 4, 5)]
    for name in ("ranking.csv", "ranking.json", "density.csv", *parts):
        together, alone = (tmp_path / run / "0" / name for run in ("ranks", "alone"))
        assert together.read_text() == alone.read_text(), name
    assert json.loads((tmp_path / "ranks" / "0" / "ranking.json").read_text())["n"] == short_runs.SMALL.size


def test_statistics_are_written_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(train_with_statistics, tmp_path / "ranks")
    train_with_statistics(tmp_path / "alone")
    assert not (tmp_path / "ranks" / "1").exists()
    for name in ("visits.csv", "path_visits.csv", "operations.csv", "visits.png", "operations.png"):
        together, alone = (tmp_path / run / "0" / name for run in ("ranks", "alone"))
        assert together.read_bytes() == alone.read_bytes(), name


def test_diagnoses_are_made_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(train_with_diagnoses, tmp_path / "ranks")
    alone = train_with_diagnoses(tmp_path / "alone")
    short_runs.assert_same(first["weights"], second["weights"])
    short_runs.assert_close(first["weights"], alone["weights"])
    assert not (tmp_path / "ranks" / "1").exists()
    for name, column in (
        ("gradient_similarity.csv", "similarity"),
        ("forgetting.csv", "at_epoch_end"),
        ("trainability.csv", "log10_condition_number"),
    ):
        files = [tmp_path / run / "0" / name for run in ("ranks", "alone")]
        together, single = (list(csv.DictReader(file.read_text().splitlines())) for file in files)
        assert [row["arch"] for row in together] == [row["arch"] for row in single]
        values = [[float(row[column]) for row in table] for table in (together, single)]
        assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_metrics_are_written_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(train_in_own_folder, tmp_path / "ranks", UNIFORM)
    train_in_own_folder(tmp_path / "alone", UNIFORM)
    together, alone = (short_runs.table(tmp_path / run / "0" / "metrics.csv") for run in ("ranks", "alone"))
    assert not (tmp_path / "ranks" / "1").exists()
    # The same steps and in each of them the same metrics: no row is written twice.
    filled = [
        [[row["step"], *(key for key in row if row[key])] for row in rows] for rows in (together, alone)
    ]
    assert filled[0] == filled[1]


def test_one_rank_alone_logs_to_wandb(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(train_with_wandb, tmp_path / "ranks")
    [attempt] = offline_wandb.attempts(tmp_path / "ranks")
    assert len(attempt.column("train/loss")) == 12
    assert len(attempt.column("ranking/scores")) == len(attempt.column("val/loss")) == 3
    assert attempt.exit_code == 0


def test_the_images_of_all_ranks_are_counted(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(train_in_own_folder, tmp_path, UNIFORM)
    names = ("time/data_wait", "time/data_wait_share", "time/images_per_second")
    for wait, share, speed in zip(*(short_runs.logged(tmp_path / "0", name) for name in names), strict=True):
        assert wait / share * speed == pytest.approx(GLOBAL_BATCH)


def test_scores_are_known_to_both_ranks(pair: GlooPair, tmp_path: Path) -> None:
    """A checkpoint that follows a score must be saved by both, or one waits for the other."""
    best = ModelCheckpoint(tmp_path, monitor="val/accuracy", mode="max")
    first, second = pair.run(train, tmp_path, UNIFORM, Ranking(), best, logger=False)
    assert first["scores"] == second["scores"]
    assert "val/accuracy" in first["scores"]
