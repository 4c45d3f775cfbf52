import math
from functools import partial

import pytest
import torch
from lightning import LightningModule

from lightning_nas.errors import NASError
from lightning_nas.optim.schedule import Schedule, configure


class Trainerless:
    def __init__(self, steps: float) -> None:
        self.estimated_stepping_batches = steps


class Module(LightningModule):
    def __init__(self, steps: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self._trainer = Trainerless(steps)  # type: ignore[assignment]

    @property
    def trainer(self) -> Trainerless:  # type: ignore[override]
        return self._trainer  # type: ignore[return-value]


def configured(steps: float, schedule: Schedule) -> dict[str, object]:
    return configure(Module(steps), partial(torch.optim.SGD, lr=0.4), schedule, final_lr=0.1)  # type: ignore[arg-type]


def test_cosine_over_the_whole_run() -> None:
    found = configured(10, "cosine")
    scheduler = found["lr_scheduler"]["scheduler"]  # type: ignore[index]
    assert found["lr_scheduler"]["interval"] == "step"  # type: ignore[index]
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
