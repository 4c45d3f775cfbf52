from pathlib import Path

import pytest
import short_runs
from lightning import Callback, LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler
from lightning_nas.samplers.warmup import require_warmup, warmup_of


class Asks(Callback):
    """Asks for the warm-up when a run begins."""

    def __init__(self, given: int | None) -> None:
        self.given = given
        self.answer = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.answer = warmup_of(trainer, self.given, key="Asks.given")


def asked(root: Path, given: int | None, **flags: object) -> int:
    asks = Asks(given)
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False, **flags}
    trainer = short_runs.trainer(root, asks, UniformSampler(), **options)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    return asks.answer


def test_by_default_it_is_three_epochs_or_a_twentieth_of_the_run(tmp_path: Path) -> None:
    """Epochs of one batch, so that a run of 100 is short."""
    assert asked(tmp_path, None, max_epochs=4) == 12
    assert asked(tmp_path, None, max_epochs=100, limit_train_batches=1) == 5
    assert asked(tmp_path, 7) == 7


def test_it_leaves_steps_for_the_method(tmp_path: Path) -> None:
    with pytest.raises(
        NASError, match=r"Asks\.given is 12, but the whole run has 12 steps: valid are 1 to 11"
    ):
        asked(tmp_path, 12)
    with pytest.raises(NASError, match=r"Asks\.given is 12 by default, but the whole run has 12 steps"):
        asked(tmp_path, None)


def test_it_is_at_least_a_step() -> None:
    require_warmup(None)
    require_warmup(1)
    with pytest.raises(NASError, match=r"sampler\.warmup_steps is 0: untrained paths all look alike"):
        require_warmup(0)
