import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule

from lightning_nas.errors import NASError
from lightning_nas.optim.schedule import Schedule, configure


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


def configured(steps: float, schedule: Schedule) -> dict[str, Any]:
    module = Module()
    module._trainer = SimpleNamespace(estimated_stepping_batches=steps)  # type: ignore[assignment]
    return configure(module, partial(torch.optim.SGD, lr=0.4), schedule, final_lr=0.1)


def test_cosine_over_the_whole_run() -> None:
    found = configured(10, "cosine")
    scheduler = found["lr_scheduler"]["scheduler"]
    assert found["lr_scheduler"]["interval"] == "step"
    for step in range(11):
        expected = 0.1 + 0.3 * (1 + math.cos(math.pi * step / 10)) / 2
        assert scheduler.get_last_lr() == pytest.approx([expected])
        scheduler.optimizer.step()
        scheduler.step()


def test_constant_has_no_scheduler() -> None:
    assert set(configured(math.inf, "constant")) == {"optimizer"}


def test_a_cosine_without_end_is_refused() -> None:
    with pytest.raises(NASError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        configured(math.inf, "cosine")
