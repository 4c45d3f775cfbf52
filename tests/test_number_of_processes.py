"""One process and two: what is the same, and what batch-norm has to do with it."""

from pathlib import Path

import pytest
import short_runs
import torch
from gloo_workers import GlooPair
from rank_jobs import train_with_shared_statistics
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
