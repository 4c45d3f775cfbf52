"""Two processes that train one supernet: ``path_ddp`` against DistributedDataParallel, in bytes and time per step.

Both train the same weights, to the last bit. The processes exchange gradients through gloo, within one machine: between
machines a byte takes longer, and what is saved with it.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from benchmarks.measure import Figure, arguments, relative, report, speedup
from lightning_nas.data import Batch
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import MobileNetV2
from lightning_nas.trainer import NASTrainer

DDP = "ddp_find_unused_parameters_true"
OURS = "path_ddp"


@dataclass(frozen=True)
class Setting:
    """What is trained, and for how long.

    Attributes:
        space: The search space.
        batch_size: Images of each process in a step.
        paths: Paths per step.
        steps: Of a run. The first does not count.
        rounds: Runs on either side.
    """

    space: MobileNetV2
    batch_size: int
    paths: int
    steps: int
    rounds: int

    def batches(self, rank: int) -> DataLoader[Batch]:
        """Random ones, for one process."""
        rng = torch.Generator().manual_seed(rank)
        space, n = self.space, self.batch_size
        shape = (n, space.in_channels, space.image_size, space.image_size)
        one = torch.randn(shape, generator=rng), torch.randint(space.num_classes, (n,), generator=rng)
        return DataLoader([one] * self.steps, batch_size=None)  # type: ignore[arg-type]


class Clock(Callback):
    """Takes the time of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Where one step ends, the next begins."""
        self.ends.append(perf_counter())

    def milliseconds(self) -> float:
        """The median step."""
        return 1e3 * median(after - before for before, after in zip(self.ends, self.ends[1:], strict=False))


class CountableDDP(Callback):
    """Lets DistributedDataParallel exchange gradients as it does anyway, but where they can be counted."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calls ``torch.distributed.all_reduce`` for every bucket."""
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            trainer.strategy.model.register_comm_hook(None, allreduce_hook)


@contextmanager
def counted_bytes() -> Iterator[list[int]]:
    """Bytes of every message that is added over processes."""
    sizes: list[int] = []
    usual = distributed.all_reduce

    def counting(tensor: Tensor, *args: Any, **options: Any) -> Any:
        sizes.append(tensor.nbytes)
        return usual(tensor, *args, **options)

    with patch.object(distributed, "all_reduce", counting):
        yield sizes


def fit(setting: Setting, strategy: str, *callbacks: Callback) -> dict[str, Tensor]:
    # Lightning takes it away at the end of every run.
    os.environ["WORLD_SIZE"] = "2"
    torch.manual_seed(0)
    module = SupernetModule(setting.space)
    with tempfile.TemporaryDirectory() as root:
        trainer = NASTrainer(
            default_root_dir=root,
            callbacks=[UniformSampler(setting.paths, seed=0), *callbacks],
            max_epochs=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            devices=2,
            strategy=strategy,
            use_distributed_sampler=False,
        )
        trainer.fit(module, setting.batches(int(os.environ["LOCAL_RANK"])))
    return module.state_dict()


def measure(setting: Setting) -> list[Figure]:
    megabytes, weights = {}, {}
    for strategy in (DDP, OURS):
        with counted_bytes() as sizes:
            weights[strategy] = fit(setting, strategy, CountableDDP())
        megabytes[strategy] = sum(sizes) / setting.steps / 1e6
    for name, weight in weights[DDP].items():
        assert torch.equal(weight, weights[OURS][name]), f"the two sides trained different {name}"
    times: dict[str, list[float]] = {DDP: [], OURS: []}
    for number in range(setting.rounds):
        for strategy in (DDP, OURS) if number % 2 else (OURS, DDP):
            clock = Clock()
            fit(setting, strategy, clock)
            times[strategy].append(clock.milliseconds())
    name = f"{setting.paths} path{'s'[: setting.paths > 1]}, batch 2 x {setting.batch_size}"
    return [
        speedup(f"{name}: bytes, DDP / path_ddp", [megabytes[OURS]], [megabytes[DDP]], "MB"),
        Figure(f"{name}: bytes per step, DDP", [megabytes[DDP]], "MB"),
        relative(f"{name}: step, path_ddp / DDP", times[OURS], times[DDP], "ms"),
        Figure(f"{name}: step, DDP", times[DDP], "ms"),
        Figure(f"{name}: step, path_ddp", times[OURS], "ms"),
    ]


def work(rank: int, meeting: str, settings: list[Setting]) -> list[Figure]:
    """What each of the two processes does."""
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")
    # Lightning's advice on loaders, validation and hardware does not concern a benchmark.
    warnings.simplefilter("ignore")
    for name in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.ERROR)
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    return [figure for setting in settings for figure in measure(setting)]


def main() -> None:
    options = arguments(__doc__)
    space = MobileNetV2(image_size=32, num_classes=10)
    if options.quick:
        settings = [Setting(space, batch_size=2, paths=1, steps=3, rounds=2)]
    else:
        sizes = [(8, 1), (8, 3), (32, 1)]
        settings = [Setting(space, batch_size, paths, steps=7, rounds=5) for batch_size, paths in sizes]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        meeting = (Path(folder) / "ranks").as_uri()
        ranks = [pool.submit(work, rank, meeting, settings) for rank in range(2)]
        report(ranks[0].result(), options)


if __name__ == "__main__":
    main()
