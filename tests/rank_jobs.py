"""Jobs for two ranks that train with ``path_ddp``, or apart from each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import short_runs
import torch
from distributed_runs import BARE, DENSITY, POOLING, UNIFORM, MakeSampler, data, train
from gloo_workers import RANKS, rank, ranks
from lightning import Callback, Trainer
from lightning.pytorch.plugins import TorchSyncBatchNorm
from lightning.pytorch.plugins.precision import MixedPrecision
from space_checks import CONFIGS, small_space
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from lightning_nas.callbacks import Ranking
from lightning_nas.launch import PathDDPStrategy
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler
from lightning_nas.spaces import NormPolicy
from lightning_nas.spaces import Path as Architecture


def train_scaled(root: Path, **flags: Any) -> dict[str, Any]:
    """With the loss scaling of 16-mixed, here on a CPU."""
    precision = MixedPrecision("bf16-mixed", "cpu")
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    return train(root, UNIFORM, plugins=[precision], gradient_clip_val=0.5, **BARE, **flags)


@contextmanager
def messages() -> Iterator[list[int]]:
    """The numbers of floats that were added over ranks."""
    sizes: list[int] = []
    usual = distributed.all_reduce

    def counting(tensor: Tensor, *args: Any, **options: Any) -> Any:
        if tensor.is_floating_point():
            sizes.append(tensor.numel())
        return usual(tensor, *args, **options)

    with patch.object(distributed, "all_reduce", counting):
        yield sizes


class Trained(Callback):
    """Counts the weights with a gradient at every optimizer step."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: object) -> None:
        self.sizes.append(sum(p.numel() for p in pl_module.parameters() if p.grad is not None))


def count(root: Path, **flags: Any) -> tuple[list[int], list[int], int]:
    trained = Trained()
    with messages() as sizes:
        outcome = train(root, UNIFORM, trained, strategy="path_ddp", **BARE, **flags)
    return sizes, trained.sizes, sum(p.numel() for p in outcome["weights"].values())


class OfRank(PathSampler):
    """Chooses other paths on rank 1 from some step on."""

    def __init__(self, since: int) -> None:
        super().__init__(seed=0)
        self.since = since

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Architecture, ...]:
        return ((1, 2) if rank() and step >= self.since else (1, 1),)


class ChangeOnRank1(Callback):
    """Changes a weight on rank 1 by the last bit, right before a comparison."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if rank() and trainer.global_step == 4:
            weight = next(pl_module.parameters()).data.view(torch.int32).flatten()
            weight[0] ^= 1


def compare_every(batches: int, root: Path, since: int = 100, change: bool = False, **flags: Any) -> None:
    """Trains with ranks that drift apart, in their paths or in a weight."""
    callbacks = [ChangeOnRank1()] if change else []
    with patch("lightning_nas.callbacks.rank_agreement.EVERY", batches):
        train(root, lambda: OfRank(since), *callbacks, **{**BARE, **flags})


def compared_steps(root: Path, **flags: Any) -> list[int]:
    """After how many optimizer steps ranks compared themselves."""
    steps: list[int] = []

    def note(module: SupernetModule, *_: Any) -> None:
        steps.append(module.global_step)

    with (
        patch("lightning_nas.callbacks.rank_agreement._require_agreement", note),
        patch("lightning_nas.callbacks.rank_agreement.EVERY", 5),
    ):
        train(root, UNIFORM, **flags)
    return steps


def train_other_weights(root: Path) -> dict[str, Any]:
    """Ranks begin with different weights and running statistics."""
    torch.manual_seed(rank())
    module = SupernetModule(POOLING, in_channels=1, image_size=8, norm=NormPolicy(running_stats=True))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(rank())
    trainer = short_runs.trainer(root, UNIFORM(), devices=RANKS, strategy="path_ddp", max_epochs=1, **BARE)
    before = next(module.parameters()).clone()
    trainer.fit(module, datamodule=data())
    return {"before": before, "parameters": dict(module.named_parameters())}


def timeout_of(root: Path) -> timedelta | None:
    strategy = PathDDPStrategy(timeout=timedelta(seconds=50))
    train(root, UNIFORM, strategy=strategy, max_steps=1, **BARE)
    return strategy._timeout


class Sum(torch.autograd.Function):
    """Adds over ranks, and the gradients, too."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [gradient] = gradients
        return Sum.forward(ctx, gradient)


def batch_norm_over_ranks(layer: nn.SyncBatchNorm, x: Tensor) -> Tensor:
    """What torch does on GPUs alone: here without a scale and running statistics, and for equal shares."""
    if not layer.training or ranks() == 1:
        return F.batch_norm(x, None, None, training=True, eps=layer.eps)
    shape = (1, -1, 1, 1)
    centred = x - Sum.apply(x.mean((0, 2, 3))).view(shape) / ranks()
    variance = Sum.apply(centred.square().mean((0, 2, 3))).view(shape) / ranks()
    normal: Tensor = centred / (variance + layer.eps).sqrt()
    return normal


def train_with_shared_statistics(
    root: Path, file: Path, sampler: MakeSampler = UNIFORM, **flags: Any
) -> dict[str, Any]:
    """Three steps of a small space; batch-norm sees the images of all ranks."""
    given = {"plugins": [TorchSyncBatchNorm()], "precision": "64-true", "max_steps": 3, **BARE, **flags}
    if ranks() > 1:
        given["strategy"] = "path_ddp"
    with patch.object(nn.SyncBatchNorm, "forward", batch_norm_over_ranks):
        return train(root, sampler, options={"space": small_space(file)}, **given)


def measure_densities_with_shared_statistics(root: Path) -> dict[str, Any]:
    """Rank 0 measures alone: what waited for rank 1 would wait in vain."""
    return train_with_shared_statistics(root, CONFIGS / "pooling_small.yaml", DENSITY, max_steps=8)


def recalibrate_with_shared_statistics(root: Path) -> None:
    module = short_runs.supernet_module(space=POOLING, norm=NormPolicy(running_stats=True))
    flags: dict[str, Any] = {"plugins": [TorchSyncBatchNorm()], "devices": RANKS, "strategy": "path_ddp"}
    trainer = short_runs.trainer(root, UNIFORM(), Ranking(recalibrate=40), num_sanity_val_steps=1, **flags)
    trainer.fit(module, datamodule=data())


class Losses(Callback):
    """Remembers the loss of every step on this rank's images."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.values.append(float(torch.stack(pl_module.losses).mean()))


def train_logging(root: Path) -> list[float]:
    losses = Losses()
    train(root, UNIFORM, losses, limit_val_batches=0)
    return losses.values
