"""Times by a clock that moves only where a test says so, and once by the real one."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import short_runs
import torch
from lightning import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_nas.callbacks import DataWait, data_wait
from lightning_nas.data import DigitsDataModule, Splits, loader
from lightning_nas.data.source import ImageSource, Request
from lightning_nas.samplers import UniformSampler
from lightning_nas.trainer import NASTrainer

TIMES = ["time/data_wait", "time/data_wait_share", "time/images_per_second"]
FETCH, TRAIN, VALIDATE, BETWEEN = 2.0, 6.0, 100.0, 1000.0


class Slow(ImageSource):
    """Waits before every batch that it hands on."""

    def __init__(self, source: ImageSource, wait: Callable[[], None]) -> None:
        super().__init__(source.labels, source.mean, source.std, source.image_size, source.augmentation)
        self.source, self.wait = source, wait

    def read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Tensor]]:
        for answer in self.source.read(requests):
            self.wait()
            yield answer


class SlowDigits(DigitsDataModule):
    """4 batches of 50 images per epoch, each of which takes its time."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__(train_size=200, val_size=100, batch_size=50, eval_batch_size=100, seed=0)
        self.wait = wait

    def open_splits(self) -> Splits:
        splits = super().open_splits()
        return splits._replace(train=Slow(splits.train, self.wait))


class Clock:
    """Seconds that pass on demand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Events(Callback):
    """What takes time in a run, apart from its data."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.pass_by(TRAIN / 3)

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.clock.pass_by(TRAIN / 3)

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.pass_by(TRAIN / 3)

    def on_validation_start(self, *_: Any) -> None:
        self.clock.pass_by(VALIDATE)

    def on_train_epoch_start(self, *_: Any) -> None:
        self.clock.pass_by(BETWEEN)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.pass_by(BETWEEN)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (data_wait, loader):
        monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def fit(
    root: Path, clock: Clock, *callbacks: Callback, resume_from: Path | None = None, **flags: Any
) -> None:
    trainer = short_runs.trainer(root, UniformSampler(seed=0), Events(clock), *callbacks, **flags)
    data = SlowDigits(lambda: clock.pass_by(FETCH))
    trainer.fit(short_runs.supernet_module(), datamodule=data, ckpt_path=resume_from)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("flags", [{}, {"val_check_interval": 2, "num_sanity_val_steps": 1}])
def test_what_is_not_a_step_is_not_counted(
    tmp_path: Path, clock: Clock, every: int, flags: dict[str, Any]
) -> None:
    fit(tmp_path, clock, log_every_n_steps=every, **flags)
    number = 12 // every
    for name, value in zip(TIMES, (FETCH, FETCH / (FETCH + TRAIN), 50 / (FETCH + TRAIN)), strict=True):
        assert short_runs.logged(tmp_path, name) == pytest.approx([value] * number)
    rows = short_runs.table(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if row[TIMES[0]]] == list(range(every, 13, every))


def test_a_step_of_several_batches_waits_for_all_of_them(tmp_path: Path, clock: Clock) -> None:
    fit(tmp_path, clock, accumulate_grad_batches=2)
    assert short_runs.logged(tmp_path, "time/data_wait") == [2 * FETCH] * 6
    # The optimizer steps once for the two.
    seconds = 2 * FETCH + TRAIN * 5 / 3
    assert short_runs.logged(tmp_path, "time/images_per_second") == pytest.approx([100 / seconds] * 6)


@pytest.mark.parametrize("step", ["02", "04", "07"])
def test_a_resumed_run_counts_from_where_it_continues(tmp_path: Path, clock: Clock, step: str) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    fit(straight, clock, short_runs.EveryCheckpoint(every_n_train_steps=1), log_every_n_steps=3)
    fit(resumed, clock, resume_from=straight / f"{step}.ckpt", log_every_n_steps=3)
    number = 4 - int(step) // 3
    for name in TIMES:
        whole = short_runs.logged(straight, name)
        assert short_runs.logged(resumed, name) == pytest.approx(whole[-number:])


def test_a_loader_that_sleeps_is_waited_for(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1)
    trainer.fit(short_runs.supernet_module(), datamodule=SlowDigits(lambda: time.sleep(0.03)))
    waits, shares, speeds = (short_runs.logged(tmp_path, name) for name in TIMES)
    assert len(waits) == len(shares) == len(speeds) == 4
    assert min(waits) >= 0.03
    assert all(0 < share < 1 for share in shares)
    assert max(speeds) < 50 / 0.03


def test_it_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str) -> Any:
        module = short_runs.supernet_module()
        trainer = short_runs.trainer(tmp_path / name, UniformSampler(seed=0))
        trainer.fit(module, datamodule=short_runs.digits())
        return module.state_dict()

    measured = run("measured")
    monkeypatch.setattr("lightning_nas.run_trainer.DataWait", Callback)
    short_runs.assert_same(run("plain"), measured)
    plain = short_runs.table(tmp_path / "plain" / "metrics.csv")
    assert plain == short_runs.metrics(tmp_path / "plain") == short_runs.metrics(tmp_path / "measured")


def test_loaders_of_others_are_not_measured(tmp_path: Path) -> None:
    batches = short_runs.Batches(*[(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))] * 2)
    given: DataLoader[Any] = DataLoader(batches, batch_size=None)
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1)
    trainer.fit(short_runs.supernet_module(), given, given)
    assert len(short_runs.logged(tmp_path, "train/loss")) == 2
    assert not set(TIMES) & set(short_runs.table(tmp_path / "metrics.csv")[0])


def test_every_run_is_measured_unless_bare(tmp_path: Path) -> None:
    class Bare(NASTrainer):
        callbacks: list[Callback]

    for bare in (False, True):
        trainer = Bare(default_root_dir=str(tmp_path), accelerator="cpu", max_steps=2, barebones=bare)
        assert any(isinstance(callback, DataWait) for callback in trainer.callbacks) is not bare


@pytest.mark.parametrize(("last", "images"), [(False, None), (True, 4 * 50)])
def test_images_of_all_processes_are_counted_when_their_step_is_taken(
    monkeypatch: pytest.MonkeyPatch, last: bool, images: int | None
) -> None:
    logged: dict[str, float] = {}
    monkeypatch.setattr(data_wait, "log_metrics", lambda _, metrics: logged.update(metrics))
    clock = Clock()
    monkeypatch.setattr(data_wait, "perf_counter", clock)
    callback, trainer = DataWait(), MagicMock(world_size=4, accumulate_grad_batches=3, is_last_batch=last)
    trainer.train_dataloader = DigitsDataModule(batch_size=50).train_dataloader()
    callback.on_train_start(trainer, MagicMock())
    clock.pass_by(2.0)
    callback.on_train_batch_end(trainer, MagicMock(), None, (torch.zeros(50),), 0)
    assert logged.get("time/images_per_second") == (images and images / 2.0)
