import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import Callback
from torch.nn import functional as F
from torch.optim import SGD

from lightning_nas.data import UniformOrder
from lightning_nas.errors import NASError
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import DataImportanceSampler, UniformSampler
from lightning_nas.samplers.data_importance import (
    class_means,
    data_probabilities,
    draw,
    gradient_norms,
    last_halved,
    of_all_ranks,
)

NO_OUTPUT = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}


# -------------------------------------------------------------------------------------- published vectors


def test_published_vector() -> None:
    logits = torch.tensor([[2.0, 0, 0], [0, 0, 0], [0, 3, 0]], dtype=torch.float64)
    norms = gradient_norms(logits, torch.tensor([0, 1, 0]))
    np.testing.assert_allclose(norms.numpy(), [0.2609, 0.8165, 1.3193], atol=1e-4)
    importance = last_halved(torch.tensor([0, 1, 3]), norms, 4).nan_to_num(0.0)
    for tau, published in (
        (1.0, [0.108852, 0.340673, 0, 0.550474]),
        (0.5, [0.179426, 0.295337, 0.125, 0.400237]),
        (0.9, [0.122967, 0.331606, 0.025, 0.520427]),
    ):
        np.testing.assert_allclose(data_probabilities(importance, tau).numpy(), published, atol=1e-6)


def test_without_importance_all_images_are_alike() -> None:
    assert data_probabilities(torch.zeros(4, dtype=torch.float64), 0.7).tolist() == pytest.approx([0.25] * 4)


def test_repeated_images_are_halved_in_the_order_of_their_visits() -> None:
    rng = np.random.default_rng(0)
    indices, values = rng.integers(20, size=300), rng.random(300)
    slow: dict[int, float] = {}
    for index, value in zip(indices.tolist(), values.tolist(), strict=True):
        slow[index] = (slow[index] + value) / 2 if index in slow else value
    found = last_halved(torch.from_numpy(indices), torch.from_numpy(values), 25)
    assert found[:20].tolist() == [slow[index] for index in range(20)]
    assert found[20:].isnan().all()
    assert last_halved(torch.empty(0, dtype=torch.int64), torch.empty(0), 3).isnan().all()


def test_classes_have_the_mean_of_what_was_seen() -> None:
    importance = torch.tensor([1.0, math.nan, 3.0, 5.0, math.nan])
    found = class_means(importance, torch.tensor([0, 0, 0, 2, 1]))
    assert found[:4].tolist() == [2.0, 2.0, 2.0, 5.0]
    assert found[4].isnan()


def test_draws_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0, 0.25, 0.05, 0.6, 0], dtype=torch.float64)
    drawn = draw(probabilities, torch.from_numpy(np.random.default_rng(0).random(100_000)))
    counts = torch.bincount(drawn, minlength=6)
    assert counts[[1, 5]].tolist() == [0, 0]
    expected = 100_000 * probabilities[[0, 2, 3, 4]]
    # Chi-square with 3 degrees of freedom stays below 16.3 in 999 of 1000 draws.
    assert ((counts[[0, 2, 3, 4]] - expected) ** 2 / expected).sum() < 16.3
    assert draw(probabilities, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [0, 4]


# -------------------------------------------------------------------- an independent version, written out


class Lists(Callback):
    """The images of every step."""

    def __init__(self) -> None:
        self.indices: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.indices.append(batch[2].tolist())


def importance_of(
    visits: list[tuple[int, float]], labels: list[int], before: list[float], granularity: str, unseen: str
) -> list[float]:
    s: dict[int, float] = {}
    for image, new in visits:
        s[image] = (s[image] + new) / 2 if image in s else new
    if granularity == "class":
        means: dict[int, list[float]] = {}
        for image, value in s.items():
            means.setdefault(labels[image], []).append(value)
        s = {
            image: sum(means[label]) / len(means[label])
            for image, label in enumerate(labels)
            if label in means
        }
    fill = {"zero": [0.0] * len(labels), "keep": before, "mean": [sum(s.values()) / len(s)] * len(labels)}
    return [s.get(image, fill[unseen][image]) for image in range(len(labels))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"granularity": "class", "schedule": "falling", "unseen": "keep"},
        {"schedule": "constant", "tau": 0.8, "unseen": "mean"},
        {"unseen": "keep", "tau": 0.5},
    ],
    ids=["released", "class-falling-keep", "constant-mean", "keep"],
)
def test_it_equals_the_method_written_out(tmp_path: Path, options: dict[str, Any]) -> None:
    """200 steps of two paths; a batch of 30 leaves 20 of 200 images out of every epoch."""
    epochs, size = 34, 30
    data = short_runs.digits(batch_size=size, crop_padding=0)
    labels = data.training_labels.tolist()
    module, twin = (short_runs.supernet_module(schedule="constant").double() for _ in range(2))
    o = {"granularity": "instance", "schedule": "rising", "tau": 1.0, "unseen": "zero", **options}
    optimizer = SGD(twin.parameters(), lr=0.1, momentum=0.9)
    paths = UniformSampler(paths=2, seed=0)
    order = UniformOrder(200, seed=0).indices(0).tolist()
    importance, lists = [0.0] * 200, []
    trainer: Any = None
    for epoch in range(epochs):
        visits: list[tuple[int, float]] = []
        for number in range(6):
            batch = order[number * size : (number + 1) * size]
            lists.append(batch)
            x, targets = data.splits.train.batch(torch.tensor(batch))
            optimizer.zero_grad()
            norms = torch.zeros(size, dtype=torch.float64)
            for path in paths.choose(trainer, twin, epoch * 6 + number):
                logits = twin.supernet(x.double(), path)
                (F.cross_entropy(logits, targets) / 2).backward()
                wrong = logits.detach().exp() / logits.detach().exp().sum(1, keepdim=True)
                wrong[range(size), targets] -= 1
                norms += wrong.pow(2).sum(1).sqrt() / 2
            optimizer.step()
            visits += zip(batch, norms.tolist(), strict=True)
        importance = importance_of(visits, labels, importance, o["granularity"], o["unseen"])
        slope = {"rising": epoch / epochs, "falling": 1 - epoch / epochs, "constant": 1.0}
        tau = o["tau"] * slope[o["schedule"]]
        q = [tau * s / sum(importance) + (1 - tau) / 200 for s in importance]
        uniform = generator(0, Stream.IMPORTANCE, epoch + 1).random(200)
        order = np.searchsorted(np.cumsum(q), uniform * np.cumsum(q)[-1], side="right").tolist()
        if epoch == epochs - 2:
            last = q, importance

    sampler, seen = DataImportanceSampler(**options, seed=0), Lists()
    flags = {"precision": "64-true", "max_epochs": epochs, **NO_OUTPUT}
    callbacks = UniformSampler(paths=2, seed=0), sampler, seen
    short_runs.trainer(tmp_path, *callbacks, **flags).fit(module, datamodule=data)
    assert len(seen.indices) == 204
    assert seen.indices == lists
    assert sampler.probabilities is not None
    assert sampler.importance is not None
    np.testing.assert_allclose(sampler.probabilities.numpy(), last[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(sampler.importance.numpy(), last[1], rtol=0, atol=1e-10)
    for mine, other in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------------ epochs


def run(root: Path, *callbacks: Any, **flags: Any) -> tuple[list[list[int]], Any]:
    seen, module = Lists(), short_runs.supernet_module()
    trainer = short_runs.trainer(root, UniformSampler(seed=0), seen, *callbacks, **{**NO_OUTPUT, **flags})
    trainer.fit(module, datamodule=short_runs.digits())
    return seen.indices, module


def test_the_first_epoch_is_that_of_a_run_without_it(tmp_path: Path) -> None:
    plain, module = run(tmp_path, max_epochs=1)
    with_importance, twin = run(tmp_path, DataImportanceSampler(), max_epochs=1)
    assert with_importance == plain
    assert sorted(index for batch in plain for index in batch) == list(range(200))
    short_runs.assert_same(twin.state_dict(), module.state_dict())


def test_later_epochs_are_as_long_and_drawn_with_replacement(tmp_path: Path) -> None:
    """Uniform draws, which tau = 0 means, reach 63 % of the images."""
    indices, _ = run(tmp_path, DataImportanceSampler(tau=0.0), max_epochs=30)
    epochs = np.array(indices).reshape(30, 200)
    distinct = [len(set(epoch)) / 200 for epoch in epochs.tolist()]
    assert distinct[0] == 1
    assert np.mean(distinct[1:]) == pytest.approx(1 - 1 / math.e, abs=0.02)
    counts = np.bincount(epochs[1:].ravel(), minlength=200)
    # Chi-square with 199 degrees of freedom stays below 267 in 999 of 1000 runs.
    assert ((counts - 29) ** 2 / 29).sum() < 267


def test_lengths_of_the_lists_are_logged(tmp_path: Path) -> None:
    run(tmp_path, DataImportanceSampler(schedule="constant"), logger=None)
    rows = [row for row in short_runs.metrics(tmp_path) if row.get("data_importance/distinct_images")]
    assert [row["step"] for row in rows] == ["4", "8"]
    for row in rows:
        assert 50 < float(row["data_importance/distinct_images"]) < 140
        assert 100 < float(row["data_importance/effective_sample_size"]) < 200


@pytest.mark.parametrize("flags", [{}, {"limit_train_batches": 3}], ids=["whole", "cut"])
def test_a_run_continues_with_the_images_it_had_drawn(tmp_path: Path, flags: dict[str, Any]) -> None:
    seen, sampler = Lists(), DataImportanceSampler(schedule="constant")
    straight = tmp_path / "straight"
    short_runs.fit(straight, lambda: UniformSampler(seed=0), sampler, seen, **flags)
    checkpoints = sorted(straight.glob("*.ckpt"))
    assert len(checkpoints) >= 9
    for checkpoint in checkpoints:
        rest, again = Lists(), DataImportanceSampler(schedule="constant")
        root = tmp_path / checkpoint.stem
        short_runs.fit(root, lambda: UniformSampler(seed=0), again, rest, resume_from=checkpoint, **flags)
        assert rest.indices == seen.indices[int(checkpoint.stem) :]
        short_runs.assert_same(again.state_dict(), sampler.state_dict())


def test_steps_without_logits_are_left_out(tmp_path: Path) -> None:
    sampler = DataImportanceSampler(schedule="constant", unseen="keep")

    class Nothing(UniformSampler):
        def choose(self, trainer: Any, module: Any, step: int) -> Any:
            module.path_weights = (0.0,)
            return super().choose(trainer, module, step)

    trainer = short_runs.trainer(tmp_path, Nothing(), sampler, max_epochs=2, **NO_OUTPUT)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert sampler.importance is not None
    assert not sampler.importance.any()
    assert sampler.probabilities is not None
    assert sampler.probabilities.tolist() == pytest.approx([1 / 200] * 200)


@pytest.mark.parametrize("tau", [-0.1, 1.1])
def test_wrong_options(tau: float) -> None:
    with pytest.raises(NASError, match=rf"^data_sampler\.tau is {tau}: valid are numbers from 0 to 1$"):
        DataImportanceSampler(tau=tau)


def test_an_epoch_that_is_over_is_not_made_up(tmp_path: Path) -> None:
    sampler = DataImportanceSampler()
    run(tmp_path, sampler, max_epochs=2)
    with pytest.raises(NASError, match="epoch 0 was asked for its images, but epoch 1 has begun"):
        sampler.indices(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unseen": "forget"}, r"^data_sampler\.unseen is 'forget': valid are zero, keep, mean"),
        ({"seed": -1}, r"^data_sampler\.seed is -1: valid are numbers from 0"),
    ],
)
def test_texts_and_seeds_that_do_not_exist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        DataImportanceSampler(**options)


def test_images_of_all_ranks_stand_in_the_order_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process r has every second image, from number r on."""

    def all_gather(shares: list[torch.Tensor], _: torch.Tensor) -> None:
        for rank, share in enumerate(shares):
            share.copy_(torch.tensor([10, 11, 12, 13])[rank::2])

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    pair: Any = SimpleNamespace(world_size=2)
    assert of_all_ranks(pair, torch.tensor([10, 12])).tolist() == [10, 11, 12, 13]
