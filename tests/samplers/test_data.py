"""What all data samplers have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_nas.errors import NASError
from lightning_nas.samplers import DataImportanceSampler, DataSampler, UniformSampler

NO_OUTPUT = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}


class Ascending(DataSampler):
    """The images in the order of the split, beginning with that of the epoch's number."""

    options = ("step",)

    def __init__(self, step: int = 1, seed: int | None = None) -> None:
        self.step = step
        super().__init__(seed)

    def indices(self, epoch: int) -> Tensor:
        return (torch.arange(len(self.data.training_labels)) + self.step * epoch) % len(
            self.data.training_labels
        )


class Seen(Callback):
    def __init__(self) -> None:
        self.batches: list[Any] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)


def test_it_owns_the_order_as_long_as_the_run_lasts(tmp_path: Path) -> None:
    data, seen = short_runs.digits(), Seen()
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Ascending(), seen, **NO_OUTPUT)
    trainer.fit(short_runs.supernet_module(), datamodule=data)
    indices = torch.stack([batch[2] for batch in seen.batches]).reshape(3, 200)
    for epoch in range(3):
        assert indices[epoch].tolist() == [(i + epoch) % 200 for i in range(200)]
    for _, labels, positions in seen.batches:
        assert torch.equal(labels, data.training_labels[positions])
    assert data.order is None


class Fails(Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise RuntimeError("cut short")


def test_a_run_that_fails_hands_the_order_back(tmp_path: Path) -> None:
    data = short_runs.digits()
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Ascending(), Fails(), **NO_OUTPUT)
    with pytest.raises(RuntimeError, match="cut short"):
        trainer.fit(short_runs.supernet_module(), datamodule=data)
    assert data.order is None


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_what_it_cannot_work_with_is_refused(tmp_path: Path) -> None:
    def fit(*callbacks: Any, module: Any = None, **flags: Any) -> None:
        short_runs.trainer(tmp_path, *callbacks, **{**NO_OUTPUT, **flags}).fit(
            module or short_runs.supernet_module(), datamodule=short_runs.digits()
        )

    with pytest.raises(NASError, match="more than one data sampler"):
        fit(UniformSampler(), Ascending(), DataImportanceSampler())
    with pytest.raises(NASError, match="needs a SupernetModule, not a BoringModel"):
        fit(Ascending(), module=BoringModel())
    with pytest.raises(NASError, match="overfit_batches asks for the same images in every epoch"):
        fit(UniformSampler(), Ascending(), overfit_batches=1)
    loader = DataLoader(short_runs.Batches((torch.zeros(2, 1, 8, 8), torch.zeros(2).long())), batch_size=None)
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Ascending(), **NO_OUTPUT)
    with pytest.raises(NASError, match="pass an ImageDataModule"):
        trainer.fit(short_runs.supernet_module(), loader)


def importance() -> list[DataSampler]:
    return [DataImportanceSampler()]


@pytest.mark.filterwarnings("ignore:Be aware that when using")
@pytest.mark.parametrize(
    ("trained_with", "continued_with", "message"),
    [
        (importance, list, "data_sampler DataImportanceSampler, but now data_sampler is None"),
        (list, importance, "data_sampler None, but now data_sampler is DataImportanceSampler"),
        (importance, lambda: [Ascending()], "data_sampler DataImportanceSampler, .* is Ascending"),
    ],
)
def test_a_run_is_scored_but_not_continued_with_another_data_sampler(
    trained_with: Callable[[], list[DataSampler]],
    continued_with: Callable[[], list[DataSampler]],
    message: str,
    tmp_path: Path,
) -> None:
    short_runs.fit(tmp_path / "run", UniformSampler, *trained_with(), max_epochs=1)
    checkpoint = tmp_path / "run" / "04.ckpt"
    with pytest.raises(NASError, match=f"^the checkpoint was trained with {message}: give the same"):
        short_runs.fit(
            tmp_path / "continued", UniformSampler, *continued_with(), resume_from=checkpoint, max_epochs=2
        )
    trainer = short_runs.trainer(tmp_path / "scored", UniformSampler(), *continued_with())
    trainer.validate(
        short_runs.supernet_module(), short_runs.digits(), ckpt_path=str(checkpoint), verbose=False
    )


def test_a_checkpoint_of_other_options_or_another_seed_is_refused() -> None:
    state = Ascending(step=2, seed=1).state_dict()
    Ascending(step=2, seed=1).load_state_dict(state)
    with pytest.raises(NASError, match=r"trained with data_sampler\.step 2, but now data_sampler\.step is 1"):
        Ascending(seed=1).load_state_dict(state)
    with pytest.raises(NASError, match="trained with seed_everything 1, but now seed_everything is 5"):
        Ascending(step=2, seed=5).load_state_dict(state)
