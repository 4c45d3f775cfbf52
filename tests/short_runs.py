"""Small runs that several test files share."""

import copy
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import Dataset
from toy_space import Toy

from lightning_nas.callbacks import Ranking, RunCheckpoint
from lightning_nas.data import DigitsDataModule
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler, UniformSampler
from lightning_nas.spaces import NormPolicy, SearchSpace
from lightning_nas.spaces import Path as Architecture
from lightning_nas.trainer import NASTrainer

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
SMALL = Toy(layers=2, width=4)


def supernet_module(space: SearchSpace = SMALL, **options: Any) -> SupernetModule:
    torch.manual_seed(0)
    return SupernetModule(space, in_channels=1, image_size=8, **options)


def trainer(root: Path, *callbacks: Any, **flags: Any) -> NASTrainer:
    options: dict[str, Any] = {
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        **QUIET,
        **flags,
    }
    return NASTrainer(default_root_dir=str(root), callbacks=list(callbacks), **options)


def digits(**options: Any) -> DigitsDataModule:
    small = {"train_size": 200, "val_size": 100, "batch_size": 50, "eval_batch_size": 100, "seed": 0}
    return DigitsDataModule(**{**small, **options})


class EveryCheckpoint(RunCheckpoint):
    """Keeps every checkpoint under the number of its step."""

    def save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / f"{trainer.global_step:02d}.ckpt")


def fit(
    root: Path,
    sampler: Callable[[], PathSampler],
    *callbacks: Any,
    resume_from: Path | None = None,
    module: SupernetModule | None = None,
    **flags: Any,
) -> tuple[SupernetModule, PathSampler]:
    """Trains in fresh objects, with a checkpoint after every optimizer step and at the end of every epoch."""
    module = module or supernet_module()
    chosen = sampler()
    checkpoints = EveryCheckpoint(every_n_train_steps=1)
    trainer(root, chosen, *callbacks, Ranking(), checkpoints, **flags).fit(
        module, datamodule=digits(), ckpt_path=resume_from
    )
    return module, chosen


class Record(Callback):
    """The weights before the first step, and of every step the batch, the paths and the learning rates."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, tuple[Architecture, ...]]] = []
        self.rates: list[list[float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: object
    ) -> None:
        assert isinstance(pl_module, SupernetModule)
        self.steps.append((batch, pl_module.paths))
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


class Copies(Callback):
    """The supernet as it is after every optimizer step, and the paths of the step's last batch."""

    def __init__(self) -> None:
        self.supernets: dict[int, Any] = {}
        self.paths: dict[int, Any] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step not in self.supernets:
            self.supernets[trainer.global_step] = copy.deepcopy(pl_module.supernet)
            self.paths[trainer.global_step] = pl_module.paths


def assert_resumes(
    root: Path, watcher: Callable[[], Callback], steps: Sequence[int], files: Sequence[str], metric: str
) -> None:
    """Runs that continue after some steps write the files of the one in ``root / "straight"``, and log its metric."""

    def watched(name: str, **options: Any) -> Path:
        fit(root / name, lambda: UniformSampler(seed=0), watcher(), **options)
        return root / name

    straight = watched("straight")
    for step in steps:
        resumed = watched(str(step), resume_from=straight / f"{step:02d}.ckpt")
        for file in files:
            assert (resumed / file).read_bytes() == (straight / file).read_bytes(), (step, file)
        assert logged(resumed, metric) == logged(straight, metric)[step // 4 :]


def assert_training_is_left_alone(
    root: Path, watcher: Callable[[], Callback], space: SearchSpace, norm: NormPolicy
) -> None:
    """Weights that coast would follow a gradient that is left behind."""
    states = []
    for name, callbacks in {"alone": [], "watched": [watcher()]}.items():
        module = supernet_module(space, norm=norm, inactive_params="coast")
        watched = trainer(root / name, UniformSampler(seed=0), *callbacks, max_epochs=2)
        watched.fit(module, datamodule=digits())
        states.append(module.state_dict())
    assert_same(*states)


class Batches(Dataset[tuple[Tensor, ...]]):
    """Given batches, for a DataLoader with ``batch_size=None``."""

    def __init__(self, *batches: tuple[Tensor, ...]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self.batches[index]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(root: Path) -> list[dict[str, str]]:
    """The rows of a run without its times, which are those of no other run."""
    rows = table(root / "metrics.csv")
    timeless = [{name: row[name] for name in row if not name.startswith("time/")} for row in rows]
    # Times stand in rows of their own; only those are empty now.
    return [row for row in timeless if any(row[name] for name in row if name != "step")]


def logged(root: Path, name: str) -> list[float]:
    """What a run logged under a name, in its order."""
    return [float(row[name]) for row in table(root / "metrics.csv") if row.get(name)]


def assert_same(a: Any, b: Any) -> None:
    """Equality to the last bit, through dictionaries and sequences."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def assert_close(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Equality up to rounding, and of what is None."""
    assert [name for name in a if a[name] is None] == [name for name in b if b[name] is None]
    for name, tensor in a.items():
        if tensor is not None:
            torch.testing.assert_close(tensor, b[name], rtol=1e-4, atol=1e-6)
