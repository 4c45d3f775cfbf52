"""Two ranks train, score and resume as one process does with the same overall batch."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import offline_wandb
import pytest
import short_runs
import torch
import wandb
from gloo_workers import RANKS, GlooPair, rank, ranks, strategy
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from sampler_cases import SAMPLERS
from torch import Tensor, distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lightning_nas import checkpoint
from lightning_nas.callbacks import (
    Forgetting,
    GradientSimilarity,
    Ranking,
    SamplingStatistics,
    Trainability,
    WandbRun,
)
from lightning_nas.data import DigitsDataModule
from lightning_nas.samplers import DataImportanceSampler, DensitySampler, PathSampler, UniformSampler
from lightning_nas.spaces import NormPolicy, Pooling
from lightning_nas.standalone import StandaloneModule
from lightning_nas.tricks import Tricks

pytestmark = pytest.mark.slow

GLOBAL_BATCH = 50
POOLING = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
# 3 epochs of 4 batches.
UNIFORM = partial(UniformSampler, paths=3)
DENSITY = partial(DensitySampler, tau=0.5, warmup_steps=6, probe_size=16)
BARE: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}

MakeSampler = Callable[[], PathSampler]


# ------------------------------------------------- jobs, for one process and for each of two ranks


class Recorder(Callback):
    """Remembers the paths of every batch, and the gradients that the optimizer is about to see."""

    def __init__(self) -> None:
        self.paths: list[Any] = []
        self.gradients: list[dict[str, Tensor | None]] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: object
    ) -> None:
        gradients = {name: p.grad for name, p in pl_module.named_parameters()}
        self.gradients.append({name: None if g is None else g.clone() for name, g in gradients.items()})

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.paths.append(pl_module.paths)


class Exchanges(Callback):
    """Counts how often gradients went from rank to rank, after every batch."""

    def __init__(self) -> None:
        self.number = 0
        self.after_batches: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = trainer.strategy.model
        assert isinstance(model, DistributedDataParallel)
        model.register_comm_hook(distributed.group.WORLD, self._exchange)

    def _exchange(
        self,
        group: Any,
        bucket: distributed.GradBucket,  # type: ignore[name-defined]  # torch wants exactly this type
    ) -> torch.futures.Future[Tensor]:
        self.number += bucket.is_last()
        return allreduce_hook(group, bucket)

    def on_train_batch_end(self, *_: object) -> None:
        self.after_batches.append(self.number)


def data() -> DigitsDataModule:
    """The same overall batch on any number of ranks: 4 batches per epoch, and 5 of validation."""
    return short_runs.digits(batch_size=GLOBAL_BATCH // ranks(), eval_batch_size=20)


def train(
    root: Path,
    sampler: MakeSampler,
    *callbacks: Callback,
    options: dict[str, Any] | None = None,
    resume_from: Path | None = None,
    **flags: Any,
) -> dict[str, Any]:
    module, chosen, recorder = short_runs.supernet_module(**(options or {})), sampler(), Recorder()
    trainer = short_runs.trainer(root, chosen, recorder, *callbacks, **{**strategy(), **flags})
    trainer.fit(module, datamodule=data(), ckpt_path=resume_from)
    return {
        "paths": recorder.paths,
        "gradients": recorder.gradients,
        "weights": module.state_dict(),
        "sampler": chosen.state_dict(),
        # The loss of training is that of a rank's own images.
        "scores": {name: float(x) for name, x in trainer.callback_metrics.items() if name != "train/loss"},
    }


def train_where_only_rank_0_can_measure(root: Path, sampler: MakeSampler) -> dict[str, Any]:
    with ExitStack() as stack:
        for measure in ("density.mean_distances", "prototype_density.represent"):
            if rank():
                stack.enter_context(patch(f"lightning_nas.samplers.{measure}", None))
        return train(root, sampler, **BARE)


def train_case_where_only_rank_0_can_measure(root: Path, name: str) -> dict[str, Any]:
    return train_where_only_rank_0_can_measure(root, SAMPLERS[name].make)


def evolve_where_only_rank_0_can_score(root: Path) -> dict[str, Any]:
    with nullcontext() if rank() == 0 else patch("lightning_nas.samplers.evolution.accuracies", None):
        return train(root, SAMPLERS["evolution_pareto"].make, **BARE)


def train_with_statistics(root: Path) -> dict[str, Any]:
    return train(root / str(rank()), UNIFORM, SamplingStatistics(), limit_val_batches=0)


def train_with_diagnoses(root: Path) -> dict[str, Any]:
    diagnoses: list[Callback] = [
        GradientSimilarity(pairs=3, probe_size=16),
        Forgetting(steps=2, probe_size=50),
    ]
    diagnoses += [Trainability(every_n_steps=2)]
    return train(root / str(rank()), UNIFORM, *diagnoses, limit_val_batches=0)


def count_exchanges(root: Path, sampler: MakeSampler, **flags: Any) -> list[int]:
    exchanges = Exchanges()
    train(root, sampler, exchanges, max_epochs=1, **BARE, **flags)
    return exchanges.after_batches


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


# ------------------------------------------------------------------------------------------ tests


def train_case(root: Path, name: str, *callbacks: Callback, **flags: Any) -> dict[str, Any]:
    case = SAMPLERS[name]
    return train(
        root, case.make, *case.companions(), *callbacks, options=case.options, **{**case.flags, **flags}
    )


class TellRank1(Callback):
    """Sends rank 1 a signal in the middle of the second step."""

    def on_before_backward(self, trainer: Trainer, *_: object) -> None:
        if rank() == 1 and trainer.global_step == 1:
            signal.raise_signal(signal.SIGTERM)


def stop_by_a_signal_to_rank_1(root: Path) -> tuple[int | str | None, int]:
    trainer = short_runs.trainer(root, UniformSampler(seed=0), TellRank1(), **strategy())
    with pytest.raises(SystemExit) as stopped:
        trainer.fit(short_runs.supernet_module(), datamodule=data())
    return stopped.value.code, trainer.global_step


def test_all_ranks_stop_after_the_step_in_which_one_is_told_to(pair: GlooPair, tmp_path: Path) -> None:
    # The first failure ends a job of SLURM, and rank 0 may still have something to write.
    assert pair.run(stop_by_a_signal_to_rank_1, tmp_path) == [(128 + signal.SIGTERM, 2), (0, 2)]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    assert (tmp_path / "preempted").exists()


@pytest.mark.parametrize("name", SAMPLERS)
def test_both_ranks_train_the_paths_of_a_single_process(pair: GlooPair, tmp_path: Path, name: str) -> None:
    first, second = pair.run(train_case, tmp_path, name, **BARE)
    alone = train_case(tmp_path, name, **BARE)
    assert len(alone["paths"]) == 12
    assert first["paths"] == second["paths"] == alone["paths"]
    short_runs.assert_same(first["sampler"], second["sampler"])
    short_runs.assert_same(first["sampler"]["visits"], alone["sampler"]["visits"])


def train_on_important_images(root: Path) -> dict[str, Any]:
    """The images of every batch, and what their sampler knows at the end."""
    images, seen = DataImportanceSampler(schedule="constant"), Images()
    train(root, UNIFORM, images, seen, **BARE)
    return {"seen": seen.indices, "state": images.state_dict()}


class Images(Callback):
    """Remembers the images of every batch."""

    def __init__(self) -> None:
        self.indices: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, *_: Any) -> None:
        self.indices.append(batch[2])


def test_ranks_share_the_images_that_one_process_draws(pair: GlooPair, tmp_path: Path) -> None:
    together = pair.run(train_on_important_images, tmp_path)
    short_runs.assert_same(together[0]["state"], together[1]["state"])
    alone = train_on_important_images(tmp_path)
    for batch, *shares in zip(alone["seen"], *(shown["seen"] for shown in together), strict=True):
        assert torch.equal(torch.stack(shares, dim=1).flatten(), batch)
    for name in ("probabilities", "importance", "norms"):
        torch.testing.assert_close(together[0]["state"][name], alone["state"][name], rtol=1e-4, atol=1e-6)
    assert torch.equal(together[0]["state"]["seen"], alone["state"]["seen"])


def test_densities_are_measured_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    """What two ranks measure may differ in the last bit, and then they would draw different paths."""
    first, second = pair.run(train_where_only_rank_0_can_measure, tmp_path, DENSITY)
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]
    alone = train(tmp_path, DENSITY, **BARE)["sampler"]
    for measured in ("distance", "probabilities"):
        torch.testing.assert_close(first["sampler"][measured], alone[measured], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name.startswith("prototype_density")])
def test_prototypes_are_measured_by_rank_0_alone(pair: GlooPair, tmp_path: Path, name: str) -> None:
    first, second = pair.run(train_case_where_only_rank_0_can_measure, tmp_path, name)
    assert len(first["sampler"]["centres"]) > 0
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]


def test_populations_are_scored_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(evolve_where_only_rank_0_can_score, tmp_path)
    assert first["sampler"]["generation"] == 2
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, {}),
        ({"grad_reduce": "sum"}, {"gradient_clip_val": 0.5}),
        ({"grad_reduce": "active_mean"}, {}),
        ({"grad_reduce": "active_mean"}, {"accumulate_grad_batches": 2}),
        ({"inactive_params": "coast"}, {"gradient_clip_val": 0.2}),
        ({"inactive_params": "coast", "grad_reduce": "sum"}, {"accumulate_grad_batches": 2}),
    ],
    ids=lambda chosen: "-".join(map(str, chosen.values())) or "default",
)
def test_gradients_and_weights_are_those_of_a_single_process(
    pair: GlooPair, tmp_path: Path, options: dict[str, Any], flags: dict[str, Any]
) -> None:
    first, second = pair.run(train, tmp_path, UNIFORM, options=options, **BARE, **flags)
    short_runs.assert_same(first, second)
    alone = train(tmp_path, UNIFORM, options=options, **BARE, **flags)
    for together, single in zip(first["gradients"], alone["gradients"], strict=True):
        short_runs.assert_close(together, single)
    short_runs.assert_close(first["weights"], alone["weights"])


def test_weights_that_no_path_of_a_step_used_have_no_gradient(pair: GlooPair, tmp_path: Path) -> None:
    """The earlier paths of a step are not exchanged by themselves, and yet what they used is."""
    module = short_runs.supernet_module()
    unused_steps = 0
    for trained in pair.run(train, tmp_path, UNIFORM, **BARE):
        for paths, gradients in zip(trained["paths"], trained["gradients"], strict=True):
            used = {id(p) for path in paths for p in module.supernet.path_parameters(path)}
            expected = {name for name, p in module.named_parameters() if id(p) in used}
            assert {name for name, gradient in gradients.items() if gradient is not None} == expected
            unused_steps += len(expected) < len(gradients)
    assert unused_steps


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({}, [1, 2, 3, 4]), ({"accumulate_grad_batches": 2}, [0, 1, 1, 2])],
    ids=["every batch", "accumulate"],
)
def test_gradients_are_exchanged_once_for_all_paths(
    pair: GlooPair, tmp_path: Path, flags: dict[str, Any], expected: list[int]
) -> None:
    assert pair.run(count_exchanges, tmp_path, UNIFORM, **flags) == [expected] * RANKS


def test_batch_norm_sees_the_share_of_its_rank(pair: GlooPair, tmp_path: Path) -> None:
    """Statistics come from the 25 images of a rank, where a single process has those of all 50.

    So the ranks agree with each other, and no number of them trains what a single process does. Exchanging
    statistics is the Trainer's sync_batchnorm.
    """
    first, second = pair.run(train, tmp_path, UNIFORM, options={"space": POOLING}, **BARE)
    short_runs.assert_same(first, second)
    alone = train(tmp_path, UNIFORM, options={"space": POOLING}, **BARE)
    assert first["paths"] == alone["paths"]
    name = "supernet.layers.0.0.0.weight"
    assert not torch.allclose(first["weights"][name], alone["weights"][name], rtol=1e-4, atol=1e-6)


def test_running_statistics_are_those_of_the_checkpoint(pair: GlooPair, tmp_path: Path) -> None:
    """Statistics of rank 1 are not saved, so it must score with those of rank 0, as DDP sees to."""
    options: dict[str, Any] = {"space": POOLING, "norm": NormPolicy(running_stats=True)}
    first, second = pair.run(train, tmp_path, UNIFORM, options=options, max_epochs=1)
    module, alone = (
        short_runs.supernet_module(**options),
        short_runs.trainer(tmp_path, UNIFORM(), logger=False),
    )
    [scores] = alone.validate(module, datamodule=data(), ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert first["scores"] == second["scores"] == pytest.approx(scores, rel=1e-6)


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


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_run_equals_one_that_was_not_interrupted(pair: GlooPair, tmp_path: Path, name: str) -> None:
    """Resumed after step 7, in the middle of an epoch and after the warm-up."""
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    callbacks = Ranking(), short_runs.EveryCheckpoint(every_n_train_steps=1)
    uninterrupted = pair.run(train_case, straight, name, *callbacks)
    resumed.mkdir()
    # All rows, as if the run had been killed at its very end: what lies after the checkpoint must go.
    shutil.copy(straight / "metrics.csv", resumed)
    continued = pair.run(train_case, resumed, name, *callbacks, resume_from=straight / "07.ckpt")
    for whole, rest in zip(uninterrupted, continued, strict=True):
        assert rest["paths"] == whole["paths"][7:]
        short_runs.assert_same(rest["weights"], whole["weights"])
        short_runs.assert_same(rest["sampler"], whole["sampler"])
    short_runs.assert_same(continued[0]["weights"], continued[1]["weights"])
    assert short_runs.metrics(resumed) == short_runs.metrics(straight)


def test_scores_are_known_to_both_ranks(pair: GlooPair, tmp_path: Path) -> None:
    """A checkpoint that follows a score must be saved by both, or one waits for the other."""
    best = ModelCheckpoint(tmp_path, monitor="val/accuracy", mode="max")
    first, second = pair.run(train, tmp_path, UNIFORM, Ranking(), best, logger=False)
    assert first["scores"] == second["scores"]
    assert "val/accuracy" in first["scores"]


def test_a_refusal_reaches_both_ranks(pair: GlooPair, tmp_path: Path) -> None:
    """Rank 0 alone would leave the other waiting for it."""
    refused = pair.outcomes(train, tmp_path, partial(DENSITY, probe_size=1000), **BARE)
    for outcome in refused:
        assert outcome.message.startswith("lightning_nas.errors.NASError:"), outcome.error
        assert "1000" in outcome.message


def train_alone(root: Path, tricks: Tricks) -> dict[str, Any]:
    """One network; every second batch of evaluation is counted by the other rank."""
    trainer = short_runs.trainer(root, max_epochs=1, **strategy())
    trainer.retrain(short_runs.supernet_module(POOLING), data(), arch="1-1-2", tricks=tricks)
    result: dict[str, Any] = json.loads((root / "retrain.json").read_text())
    return result


def test_the_hits_of_all_ranks_are_counted(pair: GlooPair, tmp_path: Path) -> None:
    """5 batches of validation, and 75 of test images."""
    results = pair.run(train_alone, tmp_path, Tricks(mixup=0.2, ema=0.5))
    assert results[0] == results[1]
    network = checkpoint.load_network(tmp_path / "last.ckpt").module
    module = StandaloneModule(network, num_classes=10)
    alone = short_runs.trainer(tmp_path / "alone")
    [val] = alone.validate(module, data(), verbose=False)
    [test] = alone.test(module, data(), verbose=False)
    for name, value in {**val, **test}.items():
        assert results[0][name] == round(value, 4), name


def test_a_network_alone_learns_from_the_images_of_all_ranks(pair: GlooPair, tmp_path: Path) -> None:
    """Without batch-norm, which sees the images of its rank alone."""
    weights = []
    for root, run in (("ranks", pair.run), ("one", lambda job, *args: job(*args))):
        run(train_toy_alone, tmp_path / root)
        weights.append(checkpoint.load_network(tmp_path / root / "last.ckpt").module.state_dict())
    short_runs.assert_close(*weights)


def train_toy_alone(root: Path) -> None:
    trainer = short_runs.trainer(root, max_epochs=1, **strategy())
    trainer.retrain(short_runs.supernet_module(), data(), arch="12")
