"""Fifty checkpoints that cannot be what was saved, made by a seeded generator: each is refused in a sentence.

A bit that is flipped in a date or in padding changes nothing that is read. Such a file is as good as the whole one, and
has to load to the same content.
"""

import io
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from test_cli import run

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.spaces import Pooling

SPACE = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
Damage = Callable[[Path, random.Random], object]


class Code:
    """Creates a file where it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return Path.touch, (self.made,)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(1, path.stat().st_size))


def flipped(path: Path, first: int, last: int, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def bit_of_data(path: Path, rng: random.Random) -> None:
    flipped(path, 0, directory_of(path), rng)


def bit_of_directory(path: Path, rng: random.Random) -> None:
    flipped(path, directory_of(path), path.stat().st_size, rng)


def directory_of(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return archive.start_dir


def zeroed(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    begin = rng.randrange(len(content) - 4096)
    content[begin : begin + 4096] = bytes(4096)
    path.write_bytes(content)


def replaced(content: Callable[[Path], bytes]) -> Damage:
    return lambda path, _: path.write_bytes(content(path))


def archive_of_something_else() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "hello, world")
    return file.getvalue()


def changed(change: Callable[[dict[str, Any], Path], object]) -> Damage:
    def damage(path: Path, _: random.Random) -> None:
        loaded = torch.load(path, weights_only=True)
        change(loaded, path)
        torch.save(loaded, path)

    return damage


def without(key: str) -> Damage:
    return changed(lambda loaded, _: loaded.pop(key))


def foreign(loaded: dict[str, Any], _: Path) -> None:
    """What Lightning alone would have written."""
    del loaded["lightning_nas"]
    loaded["state_dict"] = {"weight": torch.zeros(2)}


def other_space(loaded: dict[str, Any], _: Path) -> None:
    loaded["lightning_nas"]["space"]["init_args"]["channels"] = [2, 4, 4]


def fewer_weights(loaded: dict[str, Any], _: Path) -> None:
    loaded["state_dict"].popitem()


def other_shape(loaded: dict[str, Any], _: Path) -> None:
    name = next(iter(loaded["state_dict"]))
    loaded["state_dict"][name] = loaded["state_dict"][name][:1]


# How often each is done.
KINDS: dict[str, tuple[int, Damage]] = {
    "cut": (8, cut),
    "bit of data": (12, bit_of_data),
    "bit of directory": (8, bit_of_directory),
    "zeros": (3, zeroed),
    "empty": (1, replaced(lambda _: b"")),
    "text": (1, replaced(lambda _: b"hello, world")),
    "picture": (1, replaced(lambda _: b"\x89PNG\r\n\x1a\n" + bytes(1000))),
    "archive": (1, replaced(lambda _: archive_of_something_else())),
    "list": (1, lambda path, _: torch.save([1, 2], path)),
    **{f"without {key}": (1, without(key)) for key in ("lightning_nas", "state_dict", *checkpoint.CONTINUES)},
    "fewer weights": (1, changed(fewer_weights)),
    "other shape": (1, changed(other_shape)),
    "other space": (1, changed(other_space)),
    "foreign": (1, changed(foreign)),
    "code": (1, changed(lambda loaded, path: loaded.update(more=Code(path.with_name("ran"))))),
    "bare code": (1, replaced(lambda path: pickle.dumps(Code(path.with_name("ran"))))),
}
CASES = [(kind, number) for kind, (times, _) in KINDS.items() for number in range(times)]
# The file is whole, and what is wrong is only seen when it is compared with the run.
WHOLE = {"other space", "fewer weights", "other shape", *(f"without {key}" for key in checkpoint.CONTINUES)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    run("fit", root)
    return root


@pytest.fixture
def damaged(finished: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A run whose last checkpoint is damaged; beside it lie an earlier whole one, and one that is cut short."""
    kind, number = request.param
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    shutil.copy(root / "last.ckpt", root / "earlier.ckpt")
    (root / "later.ckpt").write_bytes((root / "last.ckpt").read_bytes()[:1000])
    KINDS[kind][1](root / "last.ckpt", random.Random(f"{kind} {number}"))
    return kind, root


def resumed(root: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    trainer = short_runs.trainer(root, max_epochs=1, limit_val_batches=0)
    trainer.fit(module, datamodule=short_runs.digits(train_size=100), ckpt_path=root / "last.ckpt")


def outcome(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What is read, or why nothing is."""
    try:
        return checkpoint.read(path), ""
    except NASError as error:
        return None, str(error)


def test_there_are_fifty() -> None:
    assert len(CASES) == 50


@pytest.mark.parametrize("damaged", CASES, ids=lambda case: f"{case[0]}-{case[1]}", indirect=True)
def test_it_is_refused(damaged: tuple[str, Path], finished: Path) -> None:
    kind, root = damaged
    before = {path: path.read_bytes() for path in root.iterdir() if path.is_file()}
    if kind not in WHOLE:
        loaded, said = outcome(root / "last.ckpt")
        if loaded is not None:
            assert kind.startswith("bit of ")
            short_runs.assert_same(loaded, torch.load(finished / "last.ckpt", weights_only=True))
            return
        assert f"newest whole one beside it is '{root / 'earlier.ckpt'}'" in said
    with pytest.raises(NASError) as refused:
        resumed(root)
    assert f"ckpt_path '{root / 'last.ckpt'}'" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert kind.partition("without ")[2] in str(refused.value)
    assert {path: path.read_bytes() for path in root.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "damaged",
    [("cut", 0), ("bit of data", 1), ("other shape", 0), ("without loops", 0), ("foreign", 0), ("code", 0)],
    ids=lambda case: case[0],
    indirect=True,
)
def test_the_command_ends_with_that_sentence(
    damaged: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, root = damaged
    with pytest.raises(SystemExit) as stopped:
        run("fit", root, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"lightning-nas: ckpt_path '{root / 'last.ckpt'}'")


def test_no_other_is_named_where_none_is_whole(finished: Path, tmp_path: Path) -> None:
    for name in ("last.ckpt", "other.ckpt"):
        (tmp_path / name).write_bytes((finished / "last.ckpt").read_bytes()[:-1])
    with pytest.raises(NASError, match=r"last\.ckpt' is damaged or no checkpoint: (?!.*newest)"):
        checkpoint.read(tmp_path / "last.ckpt")
