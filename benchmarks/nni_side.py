"""NNI's RandomOneShot on NAS-Bench-201, trained block by block for another process, in an environment of its own.

    python nni_side.py CHANNELS CELLS IMAGE_SIZE BATCH_SIZE LOG_EVERY

Every line of standard input is a block in JSON: a list of paths, each the numbers of its six operations. Every answer are two
numbers: the seconds of NNI's loop, and those of a bare loop with a copy of its supernet. NNI 3.0 needs Lightning 1.9 and
torch 2.0, and nothing here needs lightning_nas.
"""

# mypy: ignore-errors
# NNI is not in the environment in which types are checked.

import copy
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from itertools import islice
from time import perf_counter

# What NNI says to its users, and what its old Lightning says of newer libraries.
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import torch
from nni.nas.evaluator.pytorch import LightningModule
from nni.nas.hub.pytorch.nasbench201 import PRIMITIVES, NasBench201
from nni.nas.strategy import RandomOneShot
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

# As NNI labels the edges, in the order of a path.
EDGES = ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3")
STEPS = 1_000_000  # of the schedule: more than are ever timed

Batch = tuple[Tensor, Tensor]


def optimizer_of(model: nn.Module) -> tuple[torch.optim.Optimizer, CosineAnnealingLR]:
    """SGD with a cosine over the steps, as lightning_nas has it by default."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    return sgd, CosineAnnealingLR(sgd, T_max=STEPS)


class Training(LightningModule):
    """Cross-entropy of the path that NNI sampled."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, which is logged."""
        images, labels = batch
        loss = F.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> dict[str, object]:
        """The optimizer, and a schedule that is stepped with it."""
        sgd, schedule = optimizer_of(self.model)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Blocks:
    """The batches of the Trainer: at the end of a block it answers, trains the bare loop, and waits for the next."""

    def __init__(self, batches: list[Batch], model: nn.Module) -> None:
        self.batches = batches
        self.bare = copy.deepcopy(model)
        self.optimizer, self.schedule = optimizer_of(self.bare)
        self.samples: Iterator[dict[str, str]] = iter(())

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[Batch]:
        for line in sys.stdin:
            paths = json.loads(line)
            samples = [
                dict(zip(EDGES, (PRIMITIVES[choice] for choice in path), strict=True)) for path in paths
            ]
            self.samples = iter(samples)
            start = perf_counter()
            yield from islice(self._cycled(), len(paths))
            middle = perf_counter()
            self._train_bare(samples)
            print(json.dumps([middle - start, perf_counter() - middle]), file=ANSWERS, flush=True)

    def _cycled(self) -> Iterator[Batch]:
        while True:
            yield from self.batches

    def _train_bare(self, samples: list[dict[str, str]]) -> None:
        for sample, (images, labels) in zip(samples, self._cycled(), strict=False):
            take(self.bare, sample)
            self.optimizer.zero_grad()
            F.cross_entropy(self.bare(images), labels).backward()
            self.optimizer.step()
            self.schedule.step()


def take(model: nn.Module, sample: dict[str, str]) -> dict[str, str]:
    """Sets the path of a supernet, as its own ``resample`` does with what it drew."""
    memo = {f"cell/{edge}": operation for edge, operation in sample.items()}
    for module in model.modules():
        if hasattr(module, "resample"):
            module.resample(memo)
    return memo


def main(channels: int, cells: int, image_size: int, batch_size: int, log_every: int) -> None:
    """Trains what is asked for, until there is no more."""
    torch.manual_seed(0)
    strategy = RandomOneShot()
    model = strategy.mutate_model(NasBench201(channels, cells))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):  # as weight sharing has it, here and there
            norm.affine = norm.track_running_stats = False
            norm.weight = norm.bias = norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    training = Training()
    training.set_model(model)
    module = strategy.configure_oneshot_module(training)
    batches = [
        (torch.randn(batch_size, 3, image_size, image_size), torch.randint(10, (batch_size,)))
        for _ in range(4)
    ]
    blocks = Blocks(batches, model)
    # The paths are given; NNI draws its own at every step in vain, so that the time for that is in.
    own = module.resample

    def resample() -> dict[str, str]:
        own()
        return take(model, next(blocks.samples))

    module.resample = resample
    with tempfile.TemporaryDirectory() as root:
        trainer = Trainer(
            default_root_dir=root,
            accelerator="cpu",
            max_epochs=1,
            log_every_n_steps=log_every,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, blocks)


if __name__ == "__main__":
    # What libraries print must not get between the answers.
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(*map(int, sys.argv[1:]))
