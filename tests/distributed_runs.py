"""Trainings that are the same on one process and, as a job, on each of two ranks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import short_runs
from gloo_workers import ranks, strategy
from lightning import Callback, LightningModule, Trainer
from sampler_cases import SAMPLERS
from torch import Tensor

from lightning_nas.data import DigitsDataModule
from lightning_nas.samplers import DensitySampler, PathSampler, UniformSampler
from lightning_nas.spaces import Pooling

GLOBAL_BATCH = 50
POOLING = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
# 3 epochs of 4 batches.
UNIFORM = partial(UniformSampler, paths=3)
DENSITY = partial(DensitySampler, tau=0.5, warmup_steps=6, probe_size=16)
BARE: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
MakeSampler = Callable[[], PathSampler]


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


def train_case(root: Path, name: str, *callbacks: Callback, **flags: Any) -> dict[str, Any]:
    case = SAMPLERS[name]
    return train(
        root, case.make, *case.companions(), *callbacks, options=case.options, **{**case.flags, **flags}
    )
