"""Two ranks train, stop and resume as one process does with the same overall batch."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from distributed_runs import BARE, POOLING, UNIFORM, MakeSampler, data, train, train_case
from gloo_workers import RANKS, GlooPair, rank, strategy
from lightning import Callback, LightningModule, Trainer
from sampler_cases import SAMPLERS
from torch import Tensor, distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lightning_nas import checkpoint
from lightning_nas.callbacks import Ranking
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NormPolicy
from lightning_nas.standalone import StandaloneModule
from lightning_nas.tricks import Tricks

pytestmark = pytest.mark.slow


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


def count_exchanges(root: Path, sampler: MakeSampler, **flags: Any) -> list[int]:
    exchanges = Exchanges()
    train(root, sampler, exchanges, max_epochs=1, **BARE, **flags)
    return exchanges.after_batches


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
