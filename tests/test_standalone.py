import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_nas import checkpoint
from lightning_nas.data import DigitsDataModule, RawSplits
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import DARTS
from lightning_nas.standalone import StandaloneModule
from lightning_nas.tricks import DropPath, Tricks, mix

SPACE = DARTS(channels=2, cells=3, in_channels=1, image_size=12)
ALL = Tricks(mixup=0.4, cutmix=1.0, drop_path=0.5, auxiliary=0.4, ema=0.8)


class LargeDigits(DigitsDataModule):
    """The digits on 12x12 pixels, which an auxiliary head of DARTS needs."""

    image_size = 12

    def read_splits(self) -> RawSplits:
        return RawSplits(*((F.pad(images, (2, 2, 2, 2)), labels) for images, labels in super().read_splits()))


def data() -> LargeDigits:
    """4 batches per epoch, and 2 of validation."""
    return LargeDigits(train_size=64, val_size=60, batch_size=16, eval_batch_size=30, seed=0)


def network(tricks: Tricks = ALL, seed: int = 0, number: int = 5, **settings: Any) -> StandaloneModule:
    torch.manual_seed(0)
    module = SupernetModule(SPACE, **settings)
    return module.standalone(SPACE[number], tricks, seed)


def trainer(root: Path, tricks: Tricks, *callbacks: Callback, **flags: Any) -> Trainer:
    averaging = [EMAWeightAveraging(decay=tricks.ema)] if tricks.ema else []
    return short_runs.trainer(root, *callbacks, *averaging, **flags)


def batches(*given: Any) -> DataLoader[Any]:
    return DataLoader(short_runs.Batches(*given), batch_size=None)


def plain_trainer(**flags: Any) -> Trainer:
    bare = {"logger": False, "enable_checkpointing": False, "max_epochs": 1}
    return Trainer(**bare, **short_runs.QUIET, **flags)  # type: ignore[arg-type]


def test_it_trains_like_a_plain_loop_and_counts_hits() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 6))
    twin = nn.Sequential(nn.Flatten(), nn.Linear(4, 6))
    twin.load_state_dict(network.state_dict())
    given = [(torch.randn(8, 1, 2, 2), torch.randint(6, (8,))) for _ in range(5)]
    module = StandaloneModule(network, num_classes=6, schedule="constant", label_smoothing=0.1)
    plain_trainer(limit_val_batches=0).fit(module, batches(*given), batches(*given))

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for x, y in given:
        optimizer.zero_grad()
        F.cross_entropy(twin(x), y, label_smoothing=0.1).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))

    for split, metrics in {
        "test": plain_trainer().test(module, batches(*given), verbose=False),
        "val": plain_trainer().validate(module, batches(*given), verbose=False),
    }.items():
        hits = sum(int((twin(x).argmax(1) == y).sum()) for x, y in given)
        top5 = sum(int((twin(x).topk(5).indices == y[:, None]).sum()) for x, y in given)
        assert metrics == [
            {
                f"{split}/accuracy": pytest.approx(100 * hits / 40),
                f"{split}/top5": pytest.approx(100 * top5 / 40),
            }
        ]


def test_there_is_no_top5_of_four_classes() -> None:
    module = StandaloneModule(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), num_classes=4)
    [metrics] = plain_trainer().validate(
        module, batches((torch.randn(8, 1, 2, 2), torch.randint(4, (8,)))), verbose=False
    )
    assert set(metrics) == {"val/accuracy"}


def test_tricks_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    module = network(label_smoothing=0.1, schedule="constant")
    twin = network()
    images, labels = torch.rand(6, 1, 12, 12), torch.arange(6)
    given = batches((images, labels))
    trainer(tmp_path, ALL, max_epochs=2).fit(module, given, given)

    assert isinstance(twin.drop_path, DropPath)
    assert twin.auxiliary is not None
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    averaged: dict[str, torch.Tensor] = {}
    for epoch in range(2):
        rng = generator(0, Stream.TRICKS, epoch, 0, 0)
        mixed, targets = mix(images, labels, 10, ALL, rng)
        twin.drop_path.draw(0.5 * epoch / 2, mixed, rng)
        smoothed = partial(F.cross_entropy, target=targets, label_smoothing=0.1)
        optimizer.zero_grad()
        (smoothed(twin.network(mixed)) + 0.4 * smoothed(twin.auxiliary())).backward()
        optimizer.step()
        weights = {name: weight.detach().clone() for name, weight in twin.named_parameters()}
        averaged = {
            name: 0.8 * averaged[name] + 0.2 * weight if averaged else weight
            for name, weight in weights.items()
        }
    for name, weight in module.named_parameters():
        torch.testing.assert_close(weight, averaged[name], msg=name)


def test_a_resumed_training_is_that_of_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    module = network(warmup_epochs=1)
    every = short_runs.EveryCheckpoint(every_n_train_steps=1)
    trainer(straight, ALL, every, num_sanity_val_steps=1).fit(module, datamodule=data())
    found = sorted(straight.glob("*.ckpt"))
    assert len(found) == 12
    for file in (found[0], found[3], found[6], found[9]):
        # Draws depend on neither of these.
        torch.manual_seed(99)
        twin = network(warmup_epochs=1)
        torch.manual_seed(77)
        trainer(tmp_path / file.stem, ALL).fit(twin, datamodule=data(), ckpt_path=file)
        short_runs.assert_same(dict(twin.state_dict()), dict(module.state_dict()))
        for name in ("train/loss", "val/accuracy", "val/top5"):
            logged = short_runs.logged(tmp_path / file.stem, name)
            assert logged
            assert logged == short_runs.logged(straight, name)[-len(logged) :]


def test_a_checkpoint_is_the_network_of_averaged_weights(tmp_path: Path) -> None:
    module = network()
    trainer(tmp_path, ALL).fit(module, datamodule=data())
    loaded = checkpoint.load_network(tmp_path / "last.ckpt")
    assert (loaded.space, loaded.path, loaded.classes) == (SPACE, SPACE[5], tuple("0123456789"))
    x = torch.rand(4, 1, 12, 12)
    # At the end of its training the module has the averaged weights, too.
    assert torch.equal(loaded.module.eval()(x), module.eval()(x))
    assert checkpoint.holds_network(tmp_path / "last.ckpt")
    with pytest.raises(NASError, match=r"holds the network of Genotype\(.* alone, not a supernet"):
        checkpoint.load_supernet(tmp_path / "last.ckpt")
    current = torch.load(tmp_path / "last.ckpt", weights_only=True)["current_model_state"]
    assert any(not torch.equal(current[name], weight) for name, weight in module.state_dict().items())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("network")
    trainer(root, Tricks(), max_epochs=1).fit(network(Tricks()), datamodule=data())
    return root / "last.ckpt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 6}, "the checkpoint holds the network of Genotype(normal=[('max_pool_3x3', 0)"),
        ({"tricks": Tricks(mixup=0.2)}, "begun with tricks.mixup 0.0, but now tricks.mixup is 0.2"),
        ({"seed": 3}, "the training was begun with seed 0, but now seed is 3"),
    ],
)
def test_another_training_is_not_continued(
    tmp_path: Path, saved: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(NASError, match=re.escape(message)):
        trainer(tmp_path, Tricks(), max_epochs=2).fit(
            network(**{"tricks": Tricks(), **options}), datamodule=data(), ckpt_path=saved
        )


def test_a_supernet_is_not_continued_as_a_network_nor_the_reverse(tmp_path: Path, saved: Path) -> None:
    module = SupernetModule(SPACE)
    short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1).fit(module, datamodule=data())
    with pytest.raises(
        NASError, match="the checkpoint holds a supernet, not the network of one architecture"
    ):
        trainer(tmp_path / "a", Tricks()).fit(
            network(Tricks()), datamodule=data(), ckpt_path=tmp_path / "last.ckpt"
        )
    with pytest.raises(NASError, match="holds a supernet, not the network of one architecture"):
        checkpoint.load_network(tmp_path / "last.ckpt")
    with pytest.raises(
        NASError, match=r"the checkpoint holds the network of Genotype\(.* alone, not a supernet"
    ):
        short_runs.trainer(tmp_path / "b", UniformSampler(seed=0), max_epochs=2).fit(
            module, datamodule=data(), ckpt_path=saved
        )


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    module = network(Tricks(), optimizer=partial(torch.optim.SGD, lr=1e30), schedule="constant")
    with pytest.raises(NASError, match=r"train/loss is (nan|inf) at step \d: lower the learning rate"):
        trainer(tmp_path, Tricks()).fit(module, datamodule=data())
    assert not (tmp_path / "last.ckpt").exists()


def test_drop_path_needs_an_end(tmp_path: Path) -> None:
    tricks = Tricks(drop_path=0.1)
    with pytest.raises(NASError, match=r"drop_path rises over the epochs of a run: set trainer\.max_epochs"):
        trainer(tmp_path, tricks, max_epochs=-1, max_steps=3).fit(network(tricks), datamodule=data())
