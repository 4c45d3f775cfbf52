from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from sampler_cases import SAMPLERS
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_nas.callbacks import LossPlateau
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule


class Record(Callback):
    """Losses and rates of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SupernetModule)
        self.losses += [float(loss) for loss in pl_module.losses]
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def noisy() -> SupernetModule:
    """A rate at which the loss goes up and down."""
    return short_runs.supernet_module(schedule="constant", optimizer=lambda p: SGD(p, lr=2.0, momentum=0.9))


def fit(root: Path, **flags: Any) -> tuple[SupernetModule, Record]:
    record, sampler = Record(), SAMPLERS["uniform"].make
    options: dict[str, Any] = {"max_epochs": 8, **flags}
    module, _ = short_runs.fit(root, sampler, LossPlateau(patience=1), record, module=noisy(), **options)
    return module, record


def test_the_rate_is_halved_after_epochs_without_a_smaller_loss(tmp_path: Path) -> None:
    _, record = fit(tmp_path)
    best, bad, rate, expected = float("inf"), 0, 2.0, []
    for epoch in range(8):
        expected += [rate] * 4
        mean = sum(record.losses[8 * epoch : 8 * epoch + 8]) / 8
        improved = mean < best * (1 - 1e-4)
        best, bad = (mean, 0) if improved else (best, bad + 1)
        if bad > 1:
            rate, bad = rate / 2, 0
    assert record.rates == expected
    assert expected[-1] < 2.0


@pytest.mark.slow
def test_a_resumed_run_has_the_same_rates(tmp_path: Path) -> None:
    """From every checkpoint, in the middle of epochs and at their ends."""
    module, record = fit(tmp_path / "straight")
    for checkpoint in sorted((tmp_path / "straight").glob("*.ckpt"))[:-1]:
        twin, rest = fit(tmp_path / checkpoint.stem, resume_from=checkpoint)
        assert rest.rates == record.rates[len(record.rates) - len(rest.rates) :]
        short_runs.assert_same(twin.state_dict(), module.state_dict())


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"LossPlateau\.factor is 1"):
        LossPlateau(factor=1.0)
    with pytest.raises(NASError, match=r"LossPlateau\.patience is -1"):
        LossPlateau(patience=-1)
    cosine = short_runs.supernet_module()
    with pytest.raises(NASError, match=r"whose model\.schedule is 'constant'"):
        short_runs.fit(tmp_path, SAMPLERS["uniform"].make, LossPlateau(), module=cosine)


def test_the_mean_loss_is_that_of_all_ranks() -> None:
    def reduce(mean: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "mean"
        return (mean + 5) / 2

    plateau = LossPlateau()
    plateau._plateau = ReduceLROnPlateau(SGD([torch.zeros(1)]))
    plateau._sum, plateau._number = torch.tensor(6.0), 2
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(reduce=reduce))
    plateau.on_train_epoch_end(trainer, short_runs.supernet_module())
    assert plateau._plateau.best == 4
