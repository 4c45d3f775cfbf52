"""Whether all processes train the same paths, with the same weights."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import distributed

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule

EVERY = 100
"""Training batches between two comparisons."""

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Types by the number of their bytes."""


class RankAgreement(Callback):
    """Compares the step's paths, and the weights that they train, between all ranks.

    Nothing else tells when ranks drift apart: gradients of different paths can be averaged, and mean nothing then. The
    first batch of a run, or of one that continues, is compared, and every hundredth.
    """

    def __init__(self) -> None:
        self._is_first = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the next batch."""
        self._is_first = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compares, once the sampler has chosen, which comes earlier among the callbacks.

        Raises:
            NASError: Ranks differ; it is the same error on all of them.
        """
        step = trainer.fit_loop.epoch_loop.total_batch_idx
        if trainer.world_size == 1 or not (self._is_first or step % EVERY == 0):
            return
        self._is_first = False
        if isinstance(pl_module, SupernetModule) and pl_module.paths:
            _require_agreement(pl_module, step, trainer.world_size)


def _require_agreement(module: SupernetModule, step: int, world_size: int) -> None:
    paths = ", ".join(map(module.space.encode, module.paths))
    seen: list[tuple[str, int]] = [("", 0)] * world_size
    distributed.all_gather_object(seen, (paths, _digest(module)))
    for rank, (others, digest) in enumerate(seen):
        if others != seen[0][0]:
            raise NASError(
                f"at step {step} rank 0 trains {seen[0][0]}, but rank {rank} trains {others}: a sampler must choose the same "
                "paths on all ranks, as a function of seed, step and state"
            )
        if digest != seen[0][1]:
            raise NASError(
                f"at step {step} the weights of {paths} are not the same on rank 0 and rank {rank}: something changes them on "
                "one rank alone"
            )


def _digest(module: SupernetModule) -> int:
    """The sum of the bits of all weights that the step trains: exact, hence the same in any order and on any device."""
    trained = {weight for path in module.paths for weight in module.supernet.path_parameters(path)}
    sums = [weight.detach().view(INTEGERS[weight.element_size()]).sum() for weight in trained]
    return int(torch.stack(sums).sum())
