"""Every data module trains, is scored, and continues, in one process and in two, and holds on to nothing."""

import inspect
import json
import os
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import data_runs
import fresh_process
import pytest
import short_runs
import torch
from gloo_workers import GlooPair

import lightning_nas.data
from lightning_nas.data import ImageDataModule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("LIGHTNING_NAS_DATA")
    return data_runs.write_images(tmp_path_factory.mktemp("images"), Path(folder) if folder else None)


def test_every_data_module_is_tried(images: Path) -> None:
    tried = set()
    for name in data_runs.MODULES:
        with data_runs.data_module(name, images) as data:
            tried.add(type(data))
            assert len(data.train_dataloader()) == data_runs.BATCHES
    exported = (getattr(lightning_nas.data, name) for name in lightning_nas.data.__all__)
    assert tried == {
        thing
        for thing in exported
        if inspect.isclass(thing) and issubclass(thing, ImageDataModule) and not inspect.isabstract(thing)
    }


@pytest.mark.parametrize("name", data_runs.MODULES)
def test_two_ranks_train_and_score_what_one_process_does(
    pair: GlooPair, images: Path, tmp_path: Path, name: str
) -> None:
    together = pair.run(data_runs.train_and_score, tmp_path / "ranks", name, images)
    alone = data_runs.train_and_score(tmp_path / "alone", name, images)
    assert len(alone["batches"]) == data_runs.EPOCHS * data_runs.BATCHES
    for batch, *shares in zip(alone["batches"], *(rank["batches"] for rank in together), strict=True):
        for whole, *parts in zip(batch, *shares, strict=True):
            assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)
    short_runs.assert_same(together[0]["weights"], together[1]["weights"])
    short_runs.assert_close(together[0]["weights"], alone["weights"])
    for rank in together:
        torch.testing.assert_close(rank["accuracy"], alone["accuracy"], atol=0, rtol=0)
        torch.testing.assert_close(rank["loss"], alone["loss"], atol=1e-6, rtol=1e-4)
    assert together[0]["logged"] == pytest.approx(alone["logged"], rel=1e-4)


@pytest.mark.parametrize("name", ["image_folder", "ffcv"])
def test_too_few_images_for_two_ranks_end_both_in_a_sentence(
    pair: GlooPair, images: Path, tmp_path: Path, name: str
) -> None:
    for outcome in pair.outcomes(data_runs.train_and_score, tmp_path, name, images, batch_size=23):
        assert outcome.message == (
            "lightning_nas.errors.NASError: batch_size is 23 on each of 2 processes, but there are only 45 training "
            "images; it must be at most 22."
        ), outcome.error


@pytest.mark.parametrize(
    ("name", "important"),
    [("image_folder", False), ("imagenet", False), ("ffcv", False), ("imagenet", True), ("ffcv", True)],
)
def test_a_killed_process_is_continued_at_the_next_batch(
    images: Path, tmp_path: Path, name: str, important: bool
) -> None:
    """By a process with other threads, and also where what was measured in an epoch draws the images of the next."""

    def run(folder: str, trail: str, workers: int, killed: bool = False) -> list[dict[str, Any]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        with pytest.raises(BrokenProcessPool) if killed else nullcontext():
            fresh_process.run(
                data_runs.train_with_trail, tmp_path / folder, trail, name, images, important, killed, workers
            )
        return [json.loads(line) for line in (tmp_path / folder / trail).read_text().splitlines()]

    straight = run("straight", "steps", workers=1)
    assert [step["step"] for step in straight] == list(range(data_runs.EPOCHS * data_runs.BATCHES))
    assert repeats(straight[data_runs.BATCHES :]) == important
    assert run("killed", "before", workers=2, killed=True) == straight[: data_runs.KILLED_AT]
    assert not (tmp_path / "killed" / "end.pt").exists()
    assert run("killed", "after", workers=3) == straight[data_runs.CHECKPOINT_AT :]
    ends = [torch.load(tmp_path / folder / "end.pt", weights_only=True) for folder in ("straight", "killed")]
    short_runs.assert_same(*ends)


def repeats(steps: list[dict[str, Any]]) -> bool:
    """Whether an image was seen several times."""
    return max(Counter(index for step in steps for index in step["indices"]).values()) > 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process holds")
@pytest.mark.parametrize("name", ["image_folder", "imagenet", "ffcv"])
def test_reading_for_epochs_holds_on_to_nothing(images: Path, name: str) -> None:
    usages = fresh_process.run(data_runs.read_for_epochs, name, images, 10)
    second, last = usages[1], usages[-1]
    # A batch that is kept in every epoch would be more than twice as much.
    assert last.memory <= 1.01 * second.memory
    assert (last.files, last.threads) == (second.files, second.threads)
