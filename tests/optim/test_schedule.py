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


def rates(scheduler: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found += scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    return found


def expected(length: int) -> list[float]:
    return [0.1 + 0.3 * (1 + math.cos(math.pi * step / length)) / 2 for step in range(length + 1)]


def test_cosine_over_the_whole_run() -> None:
    found = configured(10, "cosine")["lr_scheduler"]
    assert found["interval"] == "step"
    assert rates(found["scheduler"], 11) == pytest.approx(expected(10))


def test_a_run_that_is_continued_for_longer_anneals_to_its_new_end() -> None:
    short, long = (configured(steps, "cosine")["lr_scheduler"]["scheduler"] for steps in (10, 20))
    rates(short, 10)
    long.load_state_dict(short.state_dict())
    long.optimizer.step()
    long.step()
    assert rates(long, 10) == pytest.approx(expected(20)[11:])


def test_constant_has_no_scheduler() -> None:
    assert set(configured(math.inf, "constant")) == {"optimizer"}


def test_a_cosine_without_end_is_refused() -> None:
    with pytest.raises(NASError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        configured(math.inf, "cosine")
