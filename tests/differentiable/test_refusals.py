"""What cannot be learnt is refused before anything is trained."""

import re
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from learning_runs import CELLS, SPACE, learn
from toy_space import Toy

from lightning_nas.differentiable import (
    DARTS,
    AlphaOptimizer,
    LearningStrategy,
)
from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import (
    ListedSpace,
    NASBench1Shot1,
    Pooling,
    SearchSpace,
)


def refused(root: Path, message: str, strategy: LearningStrategy | None = None, **given: Any) -> None:
    with pytest.raises(NASError, match=re.escape(message)):
        learn(root, strategy or DARTS(), **given)
    assert not (root / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Toy(layers=2, width=4), "model.space is Toy, whose supernet runs no mixtures"),
        (
            Pooling(blocks=(1, 1, 1), channels=(2, 2, 4)),
            "model.space is Pooling, whose supernet runs no mixtures",
        ),
        (ListedSpace(CELLS, (CELLS[0], CELLS[7])), "model.space is NASBench201 with dependent choices"),
        (NASBench1Shot1(channels=2), "model.space is NASBench1Shot1 with dependent choices"),
    ],
)
def test_spaces_that_cannot_be_learnt_are_refused(tmp_path: Path, space: SearchSpace, message: str) -> None:
    refused(tmp_path, message, space=space)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"accumulate_grad_batches": 2},
            "trainer.accumulate_grad_batches is 2, but learn updates after every batch: give a larger data.batch_size",
        ),
        ({"precision": "bf16-true"}, "trainer.precision is bf16-true, but learn has two optimizers"),
        ({"max_epochs": -1}, "trainer.max_epochs is -1, but learn counts in epochs"),
        (
            {"devices": 2},
            "trainer has 2 processes, but learn updates alphas in one: valid are trainer.devices 1",
        ),
        ({"options": {"inactive_params": "coast"}}, "model.inactive_params is 'coast'"),
        ({"options": {"grad_reduce": "sum"}}, "model.grad_reduce is 'sum'"),
        ({"data": {"balanced": True}}, "in an order of its own: leave out data.balanced"),
        (
            {"data": {"batch_size": 101}},
            "data.batch_size is 101, but strategy learns weights and alphas on 100",
        ),
    ],
)
def test_what_learning_cannot_honour_is_refused(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    refused(tmp_path, message, **flags)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "alphas.lr is 0.0: valid are numbers above 0"),
        ({"betas": (0.5, 1.0)}, "alphas.betas is (0.5, 1.0): valid are two numbers from 0 to less than 1"),
        ({"weight_decay": -1.0}, "alphas.weight_decay is -1.0: valid are numbers from 0"),
    ],
)
def test_the_optimizer_of_the_alphas_refuses_bad_numbers(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=re.escape(message)):
        AlphaOptimizer(**options)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    wild = {"optimizer": lambda params: torch.optim.SGD(params, lr=1e30), "schedule": "constant"}
    refused(tmp_path, "lower the learning rates (model.optimizer, alphas.lr) or clip", options=wild)


def test_the_checkpoint_of_a_supernet_is_not_continued(tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1).fit(
        module, datamodule=short_runs.digits()
    )
    with pytest.raises(NASError, match="the checkpoint holds a supernet without alphas"):
        learn(tmp_path, DARTS(), ckpt_path=tmp_path / "last.ckpt")
