import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule

from lightning_nas.errors import NASError
from lightning_nas.optim.schedule import Decay, Schedule, configure


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.norm = torch.nn.BatchNorm2d(2)


def configured(
    steps: float, schedule: Schedule, epochs: int = 5, decay: Decay = "all", warmup: int = 0
) -> dict[str, Any]:
    module = Module()
    # 3 batches and 2 steps in every epoch.
    trainer = SimpleNamespace(
        estimated_stepping_batches=steps,
        max_epochs=epochs,
        num_training_batches=3,
        accumulate_grad_batches=2,
        fit_loop=SimpleNamespace(setup_data=lambda: None),
    )
    module._trainer = trainer  # type: ignore[assignment]
    return configure(module, partial(torch.optim.SGD, lr=0.4, weight_decay=0.5), schedule, 0.1, decay, warmup)


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


def test_cosine_after_every_epoch() -> None:
    found = configured(1000, "cosine_epochs", epochs=10)["lr_scheduler"]
    assert found["interval"] == "epoch"
    assert rates(found["scheduler"], 11) == pytest.approx(expected(10))
    with pytest.raises(NASError, match=r"'cosine_epochs', but the run has no end: set trainer\.max_epochs$"):
        configured(1000, "cosine_epochs", epochs=-1)


def test_linear_over_the_whole_run() -> None:
    found = configured(10, "linear")["lr_scheduler"]
    assert found["interval"] == "step"
    assert rates(found["scheduler"], 11) == pytest.approx([0.4 - 0.03 * step for step in range(11)])


def test_decay_of_weights_spares_biases_and_scales() -> None:
    module = Module()
    groups = configured(10, "constant", decay="weights")["optimizer"].param_groups
    assert [[p.shape for p in group["params"]] for group in groups] == [
        [module.layer.weight.shape],
        [module.layer.bias.shape, module.norm.weight.shape, module.norm.bias.shape],
    ]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert [group["weight_decay"] for group in configured(10, "linear")["optimizer"].param_groups] == [0.5]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_warm_up_rises_and_leaves_the_rest_to_the_schedule(schedule: Schedule) -> None:
    found = rates(configured(16, schedule, warmup=3)["lr_scheduler"]["scheduler"], 17)
    assert found[:6] == pytest.approx([0.4 * step / 7 for step in range(1, 7)])
    assert found[6:] == pytest.approx(rates(configured(10, schedule)["lr_scheduler"]["scheduler"], 11))


def test_a_warm_up_by_epochs() -> None:
    scheduler = configured(10, "cosine_epochs", epochs=5, warmup=1)["lr_scheduler"]["scheduler"]
    assert rates(scheduler, 6) == pytest.approx([0.2, *expected(4)])


def test_a_warm_up_before_a_constant_rate() -> None:
    scheduler = configured(math.inf, "constant", warmup=1)["lr_scheduler"]["scheduler"]
    assert rates(scheduler, 4) == pytest.approx([0.4 / 3, 0.8 / 3, 0.4, 0.4])


@pytest.mark.parametrize("warmup", [-1, 5, 6])
def test_a_warm_up_longer_than_the_run_is_refused(warmup: int) -> None:
    with pytest.raises(NASError, match=rf"model\.warmup_epochs is {warmup}: valid are numbers from 0"):
        configured(10, "cosine", warmup=warmup)
