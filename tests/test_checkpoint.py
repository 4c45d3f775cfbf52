import re
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch

from lightning_nas import checkpoint
from lightning_nas.data import DigitsDataModule
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NormPolicy, Pooling

SPACE = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SupernetModule]:
    root = tmp_path_factory.mktemp("run")
    module = short_runs.supernet_module(SPACE)
    short_runs.trainer(root, UniformSampler(seed=0), max_epochs=1).fit(module, datamodule=short_runs.digits())
    return root / "last.ckpt", module


def test_a_checkpoint_is_tensors_and_plain_types(saved: tuple[Path, SupernetModule]) -> None:
    loaded = torch.load(saved[0], weights_only=True)
    assert loaded["lightning_nas"]["space"] == {
        "class_path": "lightning_nas.spaces.pooling.Pooling",
        "init_args": {
            "backbone": "resnet20",
            "blocks": [1, 1, 1],
            "released_mask": False,
            "channels": [2, 2, 4],
            "num_classes": 10,
            "in_channels": 1,
            "image_size": 8,
        },
    }
    assert loaded["lightning_nas"]["norm"] == {"affine": False, "running_stats": False}


def test_the_supernet_needs_only_the_checkpoint(saved: tuple[Path, SupernetModule]) -> None:
    path, module = saved
    supernet = checkpoint.load_supernet(path)
    assert supernet.space == module.space
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(supernet(x, (1,)), module.supernet(x, (1,)))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Pooling(blocks=(2, 2, 2), channels=(2, 2, 4)),
            "was trained with blocks [1, 1, 1], but model.space has blocks [2, 2, 2]",
        ),
        (
            Pooling(blocks=(1, 1, 1), channels=(2, 4, 4)),
            "was trained with channels [2, 2, 4], but model.space has",
        ),
        (
            short_runs.SMALL,
            "holds the space lightning_nas.spaces.pooling.Pooling, but model.space is toy_space.Toy",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_a_checkpoint_of_another_space_is_refused(
    tmp_path: Path, saved: tuple[Path, SupernetModule], other: Any, message: str, verb: str
) -> None:
    callbacks = [UniformSampler(seed=0)] if verb == "fit" else []
    run = getattr(short_runs.trainer(tmp_path, *callbacks, max_epochs=2), verb)
    with pytest.raises(NASError, match=re.escape(message)):
        run(short_runs.supernet_module(other), datamodule=short_runs.digits(), ckpt_path=saved[0])
    assert not list(tmp_path.iterdir())


def test_another_batch_norm_is_refused(tmp_path: Path, saved: tuple[Path, SupernetModule]) -> None:
    module = short_runs.supernet_module(SPACE, norm=NormPolicy(affine=True))
    with pytest.raises(NASError, match=r"trained with norm\.affine False, but model\.norm\.affine is True"):
        short_runs.trainer(tmp_path).validate(module, datamodule=short_runs.digits(), ckpt_path=saved[0])


class NamedDigits(DigitsDataModule):
    """The digits in another data module, under other names."""

    classes = ("0", "1", "two", "3", "4", "5", "six", "7", "8", "9")


class UnnamedDigits(DigitsDataModule):
    """The digits in another data module, without names."""

    classes = None  # type: ignore[assignment]


OTHER_CLASSES = "was trained on data whose class 2 is '2', but class 2 of data is 'two'"


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_other_classes_are_refused(tmp_path: Path, saved: tuple[Path, SupernetModule], verb: str) -> None:
    callbacks = [UniformSampler(seed=0)] if verb == "fit" else []
    run = getattr(short_runs.trainer(tmp_path, *callbacks, max_epochs=2), verb)
    module = short_runs.supernet_module(SPACE, predict_path=SPACE.encode(SPACE[0]))
    with pytest.raises(NASError, match=re.escape(OTHER_CLASSES)):
        run(module, datamodule=NamedDigits(), ckpt_path=saved[0])
    assert not list(tmp_path.iterdir())


def test_weights_alone_know_their_classes(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1, limit_val_batches=0)
    trainer.fit(short_runs.supernet_module(SPACE), datamodule=short_runs.digits())
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    with pytest.raises(NASError, match=re.escape(OTHER_CLASSES)):
        short_runs.trainer(tmp_path).validate(
            short_runs.supernet_module(SPACE), datamodule=NamedDigits(), ckpt_path=tmp_path / "weights.ckpt"
        )


def test_nothing_is_compared_where_a_side_names_no_classes(
    tmp_path: Path, saved: tuple[Path, SupernetModule]
) -> None:
    loaded = torch.load(saved[0], weights_only=True)
    assert loaded["lightning_nas"].pop("classes") == list("0123456789")
    torch.save(loaded, tmp_path / "older.ckpt")
    scores = [
        short_runs.trainer(tmp_path, UniformSampler(seed=0)).validate(
            short_runs.supernet_module(SPACE), datamodule=data, ckpt_path=file, verbose=False
        )
        for file, data in (
            (saved[0], DigitsDataModule()),
            (tmp_path / "older.ckpt", NamedDigits()),
            (saved[0], UnnamedDigits()),
        )
    ]
    assert scores[0] == scores[1] == scores[2]


def test_the_number_of_classes_is_compared() -> None:
    checkpoint.require_classes(["cat", "dog"], ("cat", "dog"))
    with pytest.raises(NASError, match="was trained on data of 2 classes, but data has 3"):
        checkpoint.require_classes(["cat", "dog"], ["cat", "dog", "owl"])


def test_a_foreign_checkpoint_is_refused(tmp_path: Path, saved: tuple[Path, SupernetModule]) -> None:
    loaded = torch.load(saved[0], weights_only=True)
    del loaded["lightning_nas"]
    torch.save(loaded, tmp_path / "foreign.ckpt")
    with pytest.raises(NASError, match="not written by lightning_nas: it describes no search space"):
        short_runs.trainer(tmp_path).validate(
            short_runs.supernet_module(SPACE),
            datamodule=short_runs.digits(),
            ckpt_path=tmp_path / "foreign.ckpt",
        )
    with pytest.raises(NASError, match="not written by lightning_nas"):
        checkpoint.load_supernet(tmp_path / "foreign.ckpt")


def test_a_newer_format_is_refused(saved: tuple[Path, SupernetModule]) -> None:
    loaded = torch.load(saved[0], weights_only=True)
    loaded["lightning_nas"]["format"] = 99
    with pytest.raises(NASError, match="has format 99: this version reads format 1"):
        checkpoint.require(loaded, SPACE.adapt(in_channels=1, image_size=8), NormPolicy())


def test_damaged_files_are_refused(tmp_path: Path, saved: tuple[Path, SupernetModule]) -> None:
    whole = saved[0].read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello, world"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NASError, match="is damaged or no checkpoint"):
            checkpoint.read(tmp_path / name)
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(NASError, match="holds a list, not a checkpoint"):
        checkpoint.read(tmp_path / "list")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"callable": print}, tmp_path / "evil.ckpt")
    with pytest.raises(NASError, match="is damaged or no checkpoint"):
        checkpoint.read(tmp_path / "evil.ckpt")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="ckpt_path is 'last', but there is no"):
        checkpoint.last(tmp_path)
    with pytest.raises(NASError, match="there is no such file"):
        checkpoint.read(tmp_path / "nothing.ckpt")
