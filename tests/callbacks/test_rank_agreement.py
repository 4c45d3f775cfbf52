"""Two ranks that drift apart are stopped, in the same words."""

from pathlib import Path

import pytest
from gloo_workers import RANKS, GlooPair
from rank_jobs import compare_every, compared_steps

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("since", "found"), [(0, 0), (1, 4), (4, 4), (6, 8)])
def test_different_paths_are_named_on_both_ranks(
    pair: GlooPair, tmp_path: Path, since: int, found: int
) -> None:
    expected = f"lightning_nas.errors.NASError: at step {found} rank 0 trains 11, but rank 1 trains 12:"
    for outcome in pair.outcomes(compare_every, 4, tmp_path, since=since):
        assert outcome.message.startswith(expected), outcome.error


def test_a_weight_that_differs_in_a_bit_is_found_on_both_ranks(pair: GlooPair, tmp_path: Path) -> None:
    expected = "NASError: at step 4 the weights of 11 are not the same on rank 0 and rank 1:"
    for outcome in pair.outcomes(compare_every, 4, tmp_path, change=True):
        assert expected in outcome.message, outcome.error


def test_ranks_that_agree_train_on(pair: GlooPair, tmp_path: Path) -> None:
    pair.run(compare_every, 1, tmp_path)
    pair.run(compare_every, 1, tmp_path, strategy="path_ddp")


def test_the_first_batch_is_compared_also_of_a_run_that_continues(pair: GlooPair, tmp_path: Path) -> None:
    assert pair.run(compared_steps, tmp_path, max_epochs=2) == [[0, 5]] * RANKS
    resumed = pair.run(compared_steps, tmp_path / "resumed", resume_from=tmp_path / "last.ckpt")
    assert resumed == [[8, 10]] * RANKS


def test_one_process_compares_nothing(tmp_path: Path) -> None:
    assert compared_steps(tmp_path, max_epochs=1) == []
