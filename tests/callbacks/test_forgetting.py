from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import LightningModule, Trainer

from lightning_nas.callbacks import Forgetting
from lightning_nas.density import probe_indices
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler, UniformSampler
from lightning_nas.spaces import NASBench201, NormPolicy

SPACE = NASBench201(channels=2, cells=1)


def rows(root: Path) -> list[dict[str, str]]:
    return short_runs.table(root / "forgetting.csv")


@pytest.mark.parametrize("accumulated", [1, 3])
def test_it_equals_the_accuracies_of_copies(tmp_path: Path, accumulated: int) -> None:
    """20 batches per epoch, or 7 steps of which the last one has 2 batches."""
    copies, measured = short_runs.Copies(), Forgetting(steps=5, probe_size=60, seed=3)
    module = short_runs.supernet_module(SPACE)
    options: dict[str, Any] = {"limit_val_batches": 0, "accumulate_grad_batches": accumulated}
    sampler = UniformSampler(paths=2, seed=0)
    trainer = short_runs.trainer(tmp_path, sampler, measured, copies, max_epochs=4, **options)
    data = short_runs.digits(batch_size=10, eval_batch_size=60)
    trainer.fit(module, datamodule=data)

    images, labels = data.validation_images(probe_indices(100, 60, seed=3))

    def accuracy(step: int, arch: str) -> float:
        with torch.no_grad():
            hits = copies.supernets[step](images, SPACE.decode(arch)).argmax(1) == labels
        return 100 * float(hits.double().mean())

    found = rows(tmp_path)
    assert [row["epoch"] for row in found] == [e for e in "1234" for _ in range(10)]
    last = {1: 20, 3: 7}[accumulated]
    for row in found:
        step, epoch = int(row["step"]), int(row["epoch"])
        assert last * (epoch - 1) < step <= last * epoch
        assert SPACE.decode(row["arch"]) in copies.paths[step]
        after, end = float(row["right_after"]), float(row["at_epoch_end"])
        assert after == pytest.approx(accuracy(step, row["arch"]))
        assert end == pytest.approx(accuracy(last * epoch, row["arch"]))
        assert float(row["forgetting"]) == end - after
    steps = {epoch: {int(row["step"]) % last for row in found if row["epoch"] == epoch} for epoch in "1234"}
    assert {len(chosen) for chosen in steps.values()} == {5}
    assert len({frozenset(chosen) for chosen in steps.values()}) > 1
    means = [np.mean([float(row["forgetting"]) for row in found if row["epoch"] == e]) for e in "1234"]
    assert short_runs.logged(tmp_path, "forgetting/mean") == pytest.approx(means)
    assert any(means)
    assert (tmp_path / "forgetting.png").exists()


class EveryOther(PathSampler):
    """Trains the second of two paths only, and in every other step none."""

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> Any:
        module.path_weights = (0.0, float(step % 2))
        return ((0, 1), (1, 2))


def test_paths_that_were_not_trained_are_left_out(tmp_path: Path) -> None:
    measured = Forgetting(probe_size=20)
    trainer = short_runs.trainer(tmp_path, EveryOther(), measured, max_epochs=1, limit_val_batches=0)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert [row["arch"] for row in rows(tmp_path)] == ["12", "12"]


def test_a_resumed_run_measures_the_same(tmp_path: Path) -> None:
    files, steps = ("forgetting.csv", "forgetting.png"), (2, 3, 4, 6, 7, 11)
    short_runs.assert_resumes(
        tmp_path, partial(Forgetting, steps=2, probe_size=50), steps, files, "forgetting/mean"
    )
    assert len(rows(tmp_path / "straight")) == 6


@pytest.mark.parametrize("norm", [NormPolicy(), NormPolicy(running_stats=True)])
def test_training_is_left_alone(tmp_path: Path, norm: NormPolicy) -> None:
    short_runs.assert_training_is_left_alone(tmp_path, partial(Forgetting, probe_size=50), SPACE, norm)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"Forgetting\.steps is 0: valid are numbers from 1"):
        Forgetting(steps=0)
    with pytest.raises(NASError, match="Forgetting needs a SupernetModule, not a LightningModule"):
        Forgetting().setup(short_runs.trainer(tmp_path), LightningModule(), "fit")
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Forgetting(probe_size=15), logger=False)
    with pytest.raises(NASError, match=r"Forgetting\.probe_size is 15, but batch-norm"):
        trainer.fit(short_runs.supernet_module(SPACE), datamodule=short_runs.digits())
