"""One process and two: what is the same, and what batch-norm has to do with it."""

from pathlib import Path

import pytest
import short_runs
import torch
from gloo_workers import GlooPair
from rank_jobs import (
    measure_densities_with_shared_statistics,
    recalibrate_with_shared_statistics,
    train_logging,
    train_with_shared_statistics,
)
from space_checks import CONFIGS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*_small.yaml")), ids=lambda file: file.stem)
def test_with_statistics_of_all_ranks_two_processes_train_what_one_does(
    pair: GlooPair, tmp_path: Path, file: Path
) -> None:
    first, second = pair.run(train_with_shared_statistics, tmp_path, file)
    alone = train_with_shared_statistics(tmp_path, file)
    assert first["paths"] == second["paths"] == alone["paths"]
    short_runs.assert_same(first["weights"], second["weights"])
    for name, weight in alone["weights"].items():
        # Double precision: rounding grows from layer to layer and from step to step, but remains far below a difference.
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-7, atol=1e-9)


def test_the_training_loss_is_that_of_the_images_of_rank_0(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(train_logging, tmp_path / "ranks")
    alone = train_logging(tmp_path / "alone")
    assert short_runs.logged(tmp_path / "ranks", "train/loss") == first != second
    assert short_runs.logged(tmp_path / "alone", "train/loss") == alone
    means = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    assert means == pytest.approx(alone, rel=1e-4)


def test_what_rank_0_measures_alone_waits_for_nobody(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(measure_densities_with_shared_statistics, tmp_path)
    alone = measure_densities_with_shared_statistics(tmp_path)
    assert first["paths"] == second["paths"] == alone["paths"]
    torch.testing.assert_close(
        first["sampler"]["distance"], alone["sampler"]["distance"], rtol=1e-5, atol=1e-7
    )


def test_recalibration_with_shared_statistics_is_refused(pair: GlooPair, tmp_path: Path) -> None:
    for outcome in pair.outcomes(recalibrate_with_shared_statistics, tmp_path):
        assert "NASError: ranking.recalibrate is 40, but every process measures" in outcome.message, (
            outcome.error
        )
