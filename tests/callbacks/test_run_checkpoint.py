import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer

from lightning_nas.callbacks import RunCheckpoint
from lightning_nas.samplers import UniformSampler


def test_no_checkpoint_lies_before_a_validation_or_inside_an_accumulation_window(tmp_path: Path) -> None:
    """3 epochs of 4 batches, 2 batches per optimizer step."""
    short_runs.fit(tmp_path, lambda: UniformSampler(seed=0), accumulate_grad_batches=2)
    found = {}
    for path in tmp_path.glob("*.ckpt"):
        loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
        batches = loops["epoch_loop.batch_progress"]["current"]["completed"]
        found[path.stem] = (batches, loops["epoch_loop.val_loop.batch_progress"]["total"]["completed"])
    # After the second of four batches, still without a validation, and after the fourth with one.
    assert {name: validated for name, (_, validated) in found.items()} == {
        "01": 0, "02": 1, "03": 0, "04": 1, "05": 0, "06": 1
    }  # fmt: skip
    assert found["02"][0] == 4


class Epochs(Callback):
    """Remembers the step of ``last.ckpt`` whenever an epoch begins."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        last = Path(trainer.default_root_dir) / "last.ckpt"
        self.steps.append(torch.load(last, weights_only=True)["global_step"] if last.exists() else 0)


def test_last_is_written_after_every_epoch_however_rare_validation_is(tmp_path: Path) -> None:
    epochs = Epochs()
    short_runs.trainer(tmp_path, UniformSampler(seed=0), epochs, check_val_every_n_epoch=2).fit(
        short_runs.supernet_module(), datamodule=short_runs.digits()
    )
    assert epochs.steps == [0, 4, 8]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 12


def test_a_run_has_one_and_can_do_without(tmp_path: Path) -> None:
    assert len(short_runs.trainer(tmp_path).checkpoint_callbacks) == 1
    assert len(short_runs.trainer(tmp_path, RunCheckpoint(every_n_train_steps=3)).checkpoint_callbacks) == 1
    assert short_runs.trainer(tmp_path, enable_checkpointing=False).checkpoint_callbacks == []


class Signal(Callback):
    """Sends a signal in the middle of a step: Ctrl-C, if no other is given."""

    def __init__(self, step: int, times: int = 1, number: signal.Signals = signal.SIGINT) -> None:
        self.at = step
        self.times = times
        self.number = number

    def on_before_backward(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.at:
            for _time in range(self.times):
                signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("step", "saved", "flags"),
    [
        (1, 2, {}),
        (3, 4, {}),
        (5, 6, {}),
        (1, 3, {"val_check_interval": 2}),
        (4, 3, {"accumulate_grad_batches": 2}),
    ],
)
def test_an_interrupted_run_continues_exactly(
    tmp_path: Path, step: int, saved: int, flags: dict[str, int]
) -> None:
    """3 epochs of 4 batches. A step before a validation, or within a window, is not one to continue from."""
    straight = short_runs.supernet_module()
    trainer = short_runs.trainer(tmp_path / "straight", UniformSampler(seed=0), **flags)
    trainer.fit(straight, datamodule=short_runs.digits())

    root = tmp_path / "interrupted"
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        short_runs.trainer(root, UniformSampler(seed=0), Signal(step), **flags).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert signal.getsignal(signal.SIGINT) is usual
    assert torch.load(root / "last.ckpt", weights_only=True)["global_step"] == saved
    module = short_runs.supernet_module()
    short_runs.trainer(root, UniformSampler(seed=0), **flags).fit(
        module, datamodule=short_runs.digits(), ckpt_path=root / "last.ckpt"
    )
    short_runs.assert_same(module.state_dict(), straight.state_dict())
    assert short_runs.metrics(root) == short_runs.metrics(tmp_path / "straight")


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        short_runs.trainer(tmp_path, UniformSampler(seed=0), Signal(1, times=2)).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert not (tmp_path / "last.ckpt").exists()


@pytest.fixture
def held_back() -> Iterator[None]:
    """SIGUSR1 waits, as in ``python -m lightning_nas``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


@pytest.mark.usefixtures("held_back")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_told_to_stop_saves_the_step_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    usual = signal.getsignal(number)
    told = Signal(1, number=number)
    with pytest.raises(SystemExit) as stopped:
        short_runs.trainer(tmp_path, UniformSampler(seed=0), told).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is usual
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    assert (tmp_path / "preempted").exists()
    short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1).fit(
        short_runs.supernet_module(), datamodule=short_runs.digits(), ckpt_path=tmp_path / "last.ckpt"
    )
    assert not (tmp_path / "preempted").exists()


@pytest.mark.usefixtures("held_back")
def test_a_signal_from_before_the_training_stops_it_after_its_first_step(tmp_path: Path) -> None:
    signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(SystemExit):
        short_runs.trainer(tmp_path, UniformSampler(seed=0)).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1


def test_ctrl_c_is_no_preemption(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        short_runs.trainer(tmp_path, UniformSampler(seed=0), Signal(1)).fit(
            short_runs.supernet_module(), datamodule=short_runs.digits()
        )
    assert not (tmp_path / "preempted").exists()


def test_a_checkpoint_that_is_cut_short_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process is killed while the file is copied to the disk of the run directory."""
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    whole = (tmp_path / "last.ckpt").read_bytes()

    def cut_short(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError("no space left")

    monkeypatch.setattr("fsspec.implementations.local.shutil.move", cut_short)
    [callback] = trainer.checkpoint_callbacks
    assert isinstance(callback, RunCheckpoint)
    with pytest.raises(OSError, match="no space left"):
        callback.save(trainer)
    assert (tmp_path / "last.ckpt").read_bytes() == whole


@pytest.mark.parametrize(("device", "ranks", "asked"), [("cpu", 2, 25), ("cuda", 1, 25), ("cuda", 2, 2)])
def test_only_ranks_on_gpus_ask_each_other_now_and_then(
    monkeypatch: pytest.MonkeyPatch, device: str, ranks: int, asked: int
) -> None:
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=ranks, global_step=1)
    callback, times = RunCheckpoint(), list[Any]()
    monkeypatch.setattr(callback, "_agree", times.append)
    for batch in range(25):
        callback.on_train_batch_end(trainer, Any, None, None, batch)  # type: ignore[arg-type]
    assert len(times) == asked
