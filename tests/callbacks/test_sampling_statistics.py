import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning.pytorch.loggers import Logger
from toy_space import Toy

from lightning_nas.callbacks import SamplingStatistics
from lightning_nas.callbacks.sampling_statistics import (
    choice_entropy,
    effective_sample_size,
    operation_shares,
)
from lightning_nas.errors import NASError
from lightning_nas.samplers import DensitySampler, UniformSampler
from lightning_nas.spaces import DARTS, NDSResNet, Pooling, RestrictedSpace, SearchSpace


def fitted(
    root: Path, space: SearchSpace, statistics: SamplingStatistics, sampler: Any = None, **flags: Any
) -> Any:
    sampler = sampler or UniformSampler(seed=0)
    trainer = short_runs.trainer(root, sampler, statistics, **{"limit_val_batches": 0, **flags})
    trainer.fit(short_runs.supernet_module(space), datamodule=short_runs.digits())
    return sampler


# ------------------------------------------------------------------------------------------------- numbers


def test_entropy_by_hand() -> None:
    """Decisions with (1, 1, 0), (3, 0, 0) and (1, 1, 1) of three choices."""
    visits = [[1, 1, 0], [3, 0, 0], [1, 1, 1]]
    assert choice_entropy(visits, Toy(layers=3)) == pytest.approx((math.log(2) / math.log(3) + 0 + 1) / 3)


def test_entropy_compares_with_the_choices_that_are_left() -> None:
    """Of three choices one was removed at the first decision, and all but one at the second."""
    space = RestrictedSpace(Toy(layers=2), ((0, 2), (1,)))
    assert choice_entropy([[5, 0, 5], [0, 10, 0]], space) == 1
    assert choice_entropy([[10, 0, 0], [0, 10, 0]], space) == 0
    assert math.copysign(1, choice_entropy([[10, 0, 0], [0, 10, 0]], space)) == 1


def test_what_was_not_trained_has_no_entropy() -> None:
    assert math.isnan(choice_entropy([[0, 0, 0]] * 2, Toy(layers=2)))
    assert math.isnan(choice_entropy([[1, 0, 0]] * 2, RestrictedSpace(Toy(layers=2), ((0,), (0,)))))
    assert math.isnan(effective_sample_size([0, 0]))


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size([1, 1, 1, 1]) == 4
    assert effective_sample_size([7, 0, 0]) == 1
    assert effective_sample_size([3, 1]) == 16 / 10


def test_operation_shares_add_up_over_decisions() -> None:
    names, shares = operation_shares([[[1, 2, 3], [3, 2, 1]], [[4, 0, 0], [0, 0, 4]]], Toy(layers=2))
    assert names == ["0", "1", "2"]
    assert shares == pytest.approx(np.array([[4, 4, 4], [4, 0, 4]]) / [[12], [8]])


def test_choices_that_are_no_operations_take_no_part() -> None:
    space = DARTS()
    visits = np.ones((1, len(space.num_choices), max(space.num_choices)))
    names, shares = operation_shares(visits, space)
    assert "sep_conv_3x3" in names
    assert shares == pytest.approx(np.full((1, 7), 1 / 7))


# --------------------------------------------------------------------------------------------------- files


def test_tables_and_metrics_of_a_run(tmp_path: Path) -> None:
    space, statistics = Toy(layers=2), SamplingStatistics()
    sampler = fitted(tmp_path, space, statistics)
    rows = short_runs.table(tmp_path / "visits.csv")
    assert [(int(row["decision"]), int(row["choice"]), row["name"]) for row in rows] == [
        (decision, choice, str(choice)) for decision in range(2) for choice in range(3)
    ]
    assert [int(row["visits"]) for row in rows] == sampler.choice_visits.flatten().tolist()
    assert [(row["arch"], int(row["visits"])) for row in short_runs.table(tmp_path / "path_visits.csv")] == [
        (space.encode(path), visits) for path, visits in zip(space, sampler.visits.tolist(), strict=True)
    ]
    assert torch.equal(torch.stack(statistics.history).sum(0), sampler.choice_visits)
    assert [int(epoch[0].sum()) for epoch in statistics.history] == [4, 4, 4]
    logged = [row for row in short_runs.metrics(tmp_path) if row["sampler/entropy"]]
    assert [int(row["step"]) for row in logged] == [4, 8, 12]
    assert [float(row["sampler/entropy"]) for row in logged] == [
        choice_entropy(epoch, space) for epoch in statistics.history
    ]
    assert float(logged[-1]["sampler/effective_sample_size"]) == effective_sample_size(sampler.visits)


def test_figures_of_a_run_lie_beside_what_they_show(tmp_path: Path) -> None:
    statistics = SamplingStatistics()
    fitted(tmp_path, Toy(layers=2), statistics)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["operations.png", "visits.png"]
    shares = operation_shares(torch.stack(statistics.history), Toy(layers=2))[1]
    rows = short_runs.table(tmp_path / "operations.csv")
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [[float(row[name]) for name in "012"] for row in rows] == shares.tolist()


def test_of_density_sampling_frequencies_are_drawn(tmp_path: Path) -> None:
    sampler = DensitySampler(tau=0.5, warmup_steps=4, probe_size=16, seed=0)
    fitted(tmp_path, Pooling(blocks=(1, 1, 1), channels=(4, 4, 6)), SamplingStatistics(), sampler)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["sampling_frequency.png", "visits.png"]
    rows = short_runs.table(tmp_path / "sampling_frequency.csv")
    assert sampler.distance is not None
    assert sampler.visits is not None
    assert [float(row["mean_distance"]) for row in rows] == sampler.distance.tolist()
    assert [int(row["visits"]) for row in rows] == sampler.visits.tolist()


def test_the_only_decision_of_a_space_is_named_by_its_architectures(tmp_path: Path) -> None:
    space = Pooling(blocks=(1, 1, 1), channels=(4, 4, 6))
    fitted(tmp_path, space, SamplingStatistics())
    assert [row["name"] for row in short_runs.table(tmp_path / "visits.csv")] == [
        space.encode(path) for path in space
    ]


def test_of_a_restricted_space_only_what_is_left_is_written(tmp_path: Path) -> None:
    space = RestrictedSpace(Toy(layers=2), ((0, 2), (1,)))
    fitted(tmp_path, space, SamplingStatistics())
    rows = short_runs.table(tmp_path / "visits.csv")
    assert [(row["decision"], row["choice"]) for row in rows] == [("0", "0"), ("0", "2"), ("1", "1")]


def test_paths_of_large_spaces_are_not_counted(tmp_path: Path) -> None:
    fitted(tmp_path, Toy(layers=40), SamplingStatistics())
    assert len(short_runs.table(tmp_path / "visits.csv")) == 120
    assert not (tmp_path / "path_visits.csv").exists()
    assert "sampler/effective_sample_size" not in short_runs.metrics(tmp_path)[0]


def test_numbers_of_different_decisions_are_no_operations(tmp_path: Path) -> None:
    space = NDSResNet(depths=(1, 2, 3), widths=(2, 4), stem_width=2)
    fitted(tmp_path, space, SamplingStatistics(), max_epochs=1, limit_train_batches=1)
    assert {row["name"] for row in short_runs.table(tmp_path / "visits.csv")} == set("012")
    assert not (tmp_path / "operations.png").exists()


# --------------------------------------------------------------------------------------------- other rules


class Images(Logger):
    """A logger that takes images, with the interface of Lightning's WandbLogger."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, int]] = []

    name = version = "images"

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def log_metrics(self, *_: Any, **__: Any) -> None: ...

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        [figure] = images
        assert step is not None
        self.images.append((f"{key}: {figure.axes[0].get_title()}", step))


def test_loggers_get_the_figures(tmp_path: Path) -> None:
    logger = Images()
    fitted(tmp_path, Toy(layers=2), SamplingStatistics(every_n_epochs=2), logger=logger)
    titles = ["sampler/visits: visits of every choice: share in %", "sampler/operations: trained operations"]
    assert logger.images == [(title, step) for step in (8, 12) for title in titles]


@pytest.mark.parametrize("step", [2, 4, 7])
def test_a_resumed_run_writes_the_same_files(tmp_path: Path, step: int) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    short_runs.fit(whole, lambda: UniformSampler(seed=0), SamplingStatistics())
    resumed.mkdir()
    shutil.copy(whole / "metrics.csv", resumed)
    short_runs.fit(
        resumed,
        lambda: UniformSampler(seed=0),
        SamplingStatistics(),
        resume_from=whole / f"{step:02d}.ckpt",
    )
    for name in ["visits.csv", "path_visits.csv", "operations.csv", "visits.png", "operations.png"]:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    assert short_runs.metrics(resumed) == short_runs.metrics(whole)


def test_a_second_run_begins_anew(tmp_path: Path) -> None:
    statistics = SamplingStatistics()
    fitted(tmp_path / "first", Toy(layers=3), statistics)
    fitted(tmp_path / "second", Toy(layers=2), statistics)
    assert [tuple(epoch.shape) for epoch in statistics.history] == [(2, 3)] * 3


def test_a_sampler_is_needed(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, SamplingStatistics())
    with pytest.raises(NASError, match="SamplingStatistics needs a sampler"):
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())


def test_less_than_an_epoch_is_refused() -> None:
    with pytest.raises(NASError, match=r"SamplingStatistics\.every_n_epochs is 0"):
        SamplingStatistics(every_n_epochs=0)
