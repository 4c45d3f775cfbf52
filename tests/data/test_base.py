"""Data modules as Lightning's Trainer uses them; the digits stand for all of them."""

import pickle
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import short_runs
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from lightning_nas.data.base import stratified_order
from lightning_nas.data.digits import DigitsDataModule
from lightning_nas.data.loader import TrainingBatch
from lightning_nas.errors import NASError
from lightning_nas.samplers import DataImportanceSampler, UniformSampler


class Recorder(LightningModule):
    """Remembers the training batches and trains one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, TrainingBatch] = {}

    def training_step(self, batch: TrainingBatch, _: int) -> Tensor:
        self.seen[self.global_step] = batch
        return self.weight * batch[0].mean()

    def validation_step(self, batch: TrainingBatch, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    folder: Path, callbacks: list[Callback], limit: float, ckpt_path: Path | None = None
) -> dict[int, TrainingBatch]:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=limit,
        default_root_dir=folder,
        callbacks=callbacks,
        enable_checkpointing=bool(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Recorder()
    trainer.fit(model, datamodule=DigitsDataModule(train_size=90, batch_size=20, seed=1), ckpt_path=ckpt_path)
    return model.seen


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("limit", [1.0, 3], ids=["whole", "limited"])
@pytest.mark.parametrize(
    "moments",
    [
        {"every_n_train_steps": 1},
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    ],
    ids=["step", "epoch end", "validation end"],
)
def test_a_resumed_run_sees_the_batches_of_the_uninterrupted(
    tmp_path: Path, moments: dict[str, Any], limit: float
) -> None:
    saver = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, auto_insert_metric_name=False, **moments)
    uninterrupted = fit(tmp_path, [saver], limit)
    num_steps = 6 if limit == 3 else 8
    assert list(uninterrupted) == list(range(num_steps))
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) == (num_steps if "every_n_train_steps" in moments else 2)
    for checkpoint in checkpoints:
        resumed = fit(tmp_path, [], limit, checkpoint)
        assert list(resumed) == list(range(int(checkpoint.stem), num_steps))
        for step, (x, y, _) in resumed.items():
            assert torch.equal(x, uninterrupted[step][0])
            assert torch.equal(y, uninterrupted[step][1])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_checkpoint_that_is_evaluated_does_not_shorten_a_later_run(tmp_path: Path) -> None:
    expected = fit(tmp_path, [ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=2)], 2)
    data = DigitsDataModule(train_size=90, batch_size=20, seed=1)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=2, default_root_dir=tmp_path, **quiet
    )
    [checkpoint] = tmp_path.glob("step=2*.ckpt")
    model = Recorder()
    trainer.validate(model, data, ckpt_path=checkpoint, verbose=False)
    trainer.fit(model, datamodule=data)
    assert list(model.seen) == [0, 1]
    assert all(torch.equal(model.seen[step][0], expected[step][0]) for step in model.seen)


def test_another_seed_shares_the_images() -> None:
    data = DigitsDataModule(seed=1)
    other = data.with_seed(2)
    assert (data.seed, other.seed) == (1, 2)
    assert other.splits is data.splits
    orders = [torch.cat([indices for *_, indices in one.train_dataloader()]) for one in (data, other)]
    assert not torch.equal(*orders)


def test_processes_get_their_share() -> None:
    shares = []
    for rank in range(2):
        data = DigitsDataModule(batch_size=20, train_size=90, val_size=50, eval_batch_size=20, seed=0)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0)  # type: ignore[assignment]
        shares.append(data)
    single = DigitsDataModule(batch_size=40, train_size=90, val_size=50, eval_batch_size=20, seed=0)
    parts = zip(*(share.train_dataloader() for share in shares), strict=True)
    for (x, *_), ((even, *_), (odd, *_)) in zip(single.train_dataloader(), parts, strict=True):
        assert torch.equal(x[0::2], even)
        assert torch.equal(x[1::2], odd)
    assert [[len(y) for _, y in share.val_dataloader()] for share in shares] == [[20, 20, 10]] * 2


def test_seed_of_seed_everything_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert DigitsDataModule().seed == 5
    assert DigitsDataModule(seed=6).seed == 6


def test_digits_are_named() -> None:
    assert DigitsDataModule().classes == tuple("0123456789")


def test_predictions_are_made_on_the_test_split() -> None:
    data = DigitsDataModule()
    for (x, y), (test_x, test_y) in zip(data.predict_dataloader(), data.test_dataloader(), strict=True):
        assert torch.equal(x, test_x)
        assert torch.equal(y, test_y)


@pytest.mark.parametrize("size", [7, 40, 100, 233])
def test_every_stretch_is_stratified(size: int) -> None:
    labels = torch.cat([torch.zeros(150), torch.ones(250), torch.full((100,), 2)]).long()
    order = stratified_order(labels, 3)
    assert sorted(order.tolist()) == list(range(500))
    for start in range(500 - size):
        counts = Counter(labels[order[start : start + size]].tolist())
        for label, share in enumerate((0.3, 0.5, 0.2)):
            assert abs(counts[label] - share * size) <= 2


def test_the_order_within_a_class_is_random_and_seeded() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    first, again, other = (stratified_order(labels, seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_an_evaluated_split_has_a_whole_batch() -> None:
    DigitsDataModule(val_size=50, eval_batch_size=50).setup("fit")
    with pytest.raises(
        NASError, match=r"^eval_batch_size is 51, .* validation split has 50 images; .* at most 50"
    ):
        DigitsDataModule(val_size=50, eval_batch_size=51).setup("validate")


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_sees_the_same_batches_in_every_epoch(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Labels(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            seen.append([])

        def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
            seen[-1] += batch[1].tolist()

    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), Labels(), overfit_batches=2, logger=False)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert len(seen[0]) == 100
    assert seen == [seen[0]] * 3


def test_images_are_shared_with_a_run_of_another_seed(tmp_path: Path) -> None:
    data = short_runs.digits()
    other = data.with_seed(5)
    assert other.splits is data.splits
    short_runs.trainer(tmp_path, UniformSampler(), DataImportanceSampler(), max_epochs=2).fit(
        short_runs.supernet_module(), datamodule=data
    )
    # Of the run, with its order and its place in it, the next one knows nothing.
    expected, found = other.train_dataloader(), data.with_seed(5).train_dataloader()
    assert found.state_dict() == {"epoch": 0, "position": 0}
    for batch, same in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, same, strict=True))


def test_open_images_stay_in_their_process(tmp_path: Path) -> None:
    data = short_runs.digits()
    short_runs.trainer(tmp_path, UniformSampler(), DataImportanceSampler(), max_epochs=1).fit(
        short_runs.supernet_module(), datamodule=data
    )
    sent = pickle.dumps(data)
    assert len(sent) < 1000  # the images have 115,008 bytes
    assert torch.equal(pickle.loads(sent).training_labels, data.training_labels)
