"""A sampler of one's own: choices are trained the more often the higher their loss has been."""

from typing import Any

import torch
from lightning import LightningModule, Trainer

from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import PathSampler
from lightning_nas.spaces import Path


class HardChoices(PathSampler):
    """Draws every choice with a probability that is proportional to a running mean of its losses."""

    options = ("rate",)
    state = ("loss",)

    def __init__(self, rate: float = 0.1, seed: int | None = None) -> None:
        self.rate = rate
        super().__init__(seed)

    def begin(self) -> None:
        self.loss = torch.zeros(0)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        space, rng = module.space, generator(self.seed, Stream.PATH, step)
        if not len(self.loss):
            self.loss = torch.ones(len(space.num_choices), max(space.num_choices))
        weights = [row[list(allowed)].double() for row, allowed in zip(self.loss, space.choices, strict=True)]
        drawn = (rng.choice(c, p=w / w.sum()) for c, w in zip(space.choices, weights, strict=True))
        return (tuple(map(int, drawn)),)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SupernetModule)
        loss = float(trainer.strategy.reduce(pl_module.losses[-1], reduce_op="mean"))
        for decision, choice in enumerate(pl_module.paths[0]):
            self.loss[decision, choice] += self.rate * (loss - self.loss[decision, choice])
