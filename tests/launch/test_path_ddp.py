"""Two ranks train with ``path_ddp`` what they train with DistributedDataParallel, to the last bit."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from distributed_runs import BARE, POOLING, UNIFORM, train, train_case
from gloo_workers import RANKS, GlooPair
from rank_jobs import compare_every, count, timeout_of, train_other_weights, train_scaled

from lightning_nas.callbacks import Ranking
from lightning_nas.spaces import NormPolicy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, {}),
        ({"grad_reduce": "sum"}, {"gradient_clip_val": 0.5}),
        (
            {"grad_reduce": "active_mean"},
            {"accumulate_grad_batches": 3},
        ),  # the last window of an epoch is shorter
        ({"inactive_params": "coast"}, {"gradient_clip_val": 0.2}),
        ({"inactive_params": "coast", "grad_reduce": "sum"}, {"accumulate_grad_batches": 2}),
        ({"space": POOLING, "norm": NormPolicy(affine=True, running_stats=True)}, {}),
        ({"space": POOLING, "channels_last": True}, {}),
    ],
    ids=[
        "default",
        "clipped",
        "accumulated",
        "coast",
        "coast and accumulated",
        "running statistics",
        "channels last",
    ],
)
def test_it_trains_what_ddp_trains(
    pair: GlooPair, tmp_path: Path, options: dict[str, Any], flags: dict[str, Any]
) -> None:
    flags = {"logger": False, "enable_checkpointing": False, **flags}
    usual, _ = pair.run(train, tmp_path, UNIFORM, options=options, **flags)
    first, second = pair.run(train, tmp_path, UNIFORM, options=options, strategy="path_ddp", **flags)
    short_runs.assert_same(first, usual)
    for name in ("gradients", "scores", "sampler"):
        short_runs.assert_same(second[name], usual[name])


@pytest.mark.parametrize(
    "name",
    ["fair", "path_importance", "pada", "prototype_density_weight", "calr_momentum_separation_fair"],
)
def test_samplers_learn_from_the_gradients_of_all_ranks(pair: GlooPair, tmp_path: Path, name: str) -> None:
    usual = pair.run(train_case, tmp_path, name, **BARE)
    found = pair.run(train_case, tmp_path, name, strategy="path_ddp", **BARE)
    for ours, theirs in zip(found, usual, strict=True):
        short_runs.assert_same(ours, theirs)


def test_scaled_gradients_are_exchanged_before_they_are_unscaled(pair: GlooPair, tmp_path: Path) -> None:
    usual = pair.run(train_scaled, tmp_path)
    found = pair.run(train_scaled, tmp_path, strategy="path_ddp")
    for ours, theirs in zip(found, usual, strict=True):
        short_runs.assert_same(ours, theirs)


@pytest.mark.parametrize("window", [1, 2])
def test_one_message_per_step_carries_what_was_trained(pair: GlooPair, tmp_path: Path, window: int) -> None:
    for sizes, trained, whole in pair.run(count, tmp_path, accumulate_grad_batches=window):
        assert sizes == trained
        assert len(sizes) == 12 / window
        assert min(sizes) < whole


def test_a_resumed_run_equals_one_that_was_not_interrupted(pair: GlooPair, tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    callbacks = Ranking(), short_runs.EveryCheckpoint(every_n_train_steps=1)
    options = {"inactive_params": "coast"}
    uninterrupted = pair.run(train, straight, UNIFORM, *callbacks, options=options, strategy="path_ddp")
    resumed.mkdir()
    shutil.copy(straight / "metrics.csv", resumed)
    checkpoint = straight / "07.ckpt"
    continued = pair.run(
        train, resumed, UNIFORM, *callbacks, options=options, strategy="path_ddp", resume_from=checkpoint
    )
    for whole, rest in zip(uninterrupted, continued, strict=True):
        assert rest["paths"] == whole["paths"][7:]
        short_runs.assert_same(rest["weights"], whole["weights"])
    assert short_runs.metrics(resumed) == short_runs.metrics(straight)


def test_ranks_begin_with_the_weights_of_rank_0(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(train_other_weights, tmp_path)
    assert not torch.equal(first["before"], second["before"])
    short_runs.assert_same(first["parameters"], second["parameters"])


def test_gradients_of_different_weights_are_not_added(pair: GlooPair, tmp_path: Path) -> None:
    """The periodic comparison would find it later."""
    for outcome in pair.outcomes(compare_every, 100, tmp_path, since=2, strategy="path_ddp"):
        assert outcome.message.startswith(
            "lightning_nas.errors.NASError: the ranks trained different weights in step 2:"
        ), outcome.error


def test_it_waits_as_long_as_it_is_told(pair: GlooPair, tmp_path: Path) -> None:
    assert pair.run(timeout_of, tmp_path) == [timedelta(seconds=50)] * RANKS
