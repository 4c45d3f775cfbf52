import csv
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import pytest
import short_runs
import torch
from lightning import Trainer
from toy_space import Toy

from lightning_nas import groundtruth
from lightning_nas.data import DigitsDataModule, ImageNetDataModule, RawSplits
from lightning_nas.errors import NASError
from lightning_nas.groundtruth import Network
from lightning_nas.module import SupernetModule
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.samplers import DataImportanceSampler, UniformSampler
from lightning_nas.spaces import Pooling

SPACE = Toy(layers=1, width=4)
FLAGS: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu"}


def measure(root: Path, seeds: int = 2, workers: int = 1) -> Any:
    return groundtruth.measure(
        short_runs.supernet_module(SPACE), short_runs.digits(), FLAGS, seeds, workers, root
    )


def lines(root: Path) -> list[dict[str, str]]:
    with (root / groundtruth.RUNS).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_mean_and_spread_of_the_runs(tmp_path: Path) -> None:
    accuracies = measure(tmp_path)
    assert accuracies.shape == (3, 2)
    table = TabularBenchmark.read(tmp_path / groundtruth.TABLE)
    costs = {SPACE.encode(path): SPACE.adapt(in_channels=1).cost(path) for path in SPACE}
    table.check(costs, {arch: (cost.params, cost.macs) for arch, cost in costs.items()})
    assert list(table.column("digits").values()) == pytest.approx(accuracies.mean(1), abs=1e-4)
    found = {(row["arch"], int(row["seed"])): float(row["accuracy"]) for row in lines(tmp_path)}
    assert [found[(str(i), seed)] for i in range(3) for seed in range(2)] == accuracies.flatten().tolist()


def test_interrupted_measurements_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = measure(tmp_path / "straight")
    train = groundtruth.train
    trained: list[Network] = []

    def interrupted(module: Any, data: Any, flags: Any, network: Network) -> Any:
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append(network)
        return train(module, data, flags, network)

    monkeypatch.setattr(groundtruth, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "cut")
    assert len(lines(tmp_path / "cut")) == 4
    assert not (tmp_path / "cut" / groundtruth.TABLE).exists()
    # A line that was cut short by a crash is not believed.
    with (tmp_path / "cut" / groundtruth.RUNS).open("a") as file:
        file.write('"1",1,93.')
    trained.clear()

    def counted(module: Any, data: Any, flags: Any, network: Network) -> Any:
        trained.append(network)
        return train(module, data, flags, network)

    monkeypatch.setattr(groundtruth, "train", counted)
    for _ in range(2):
        assert np.array_equal(measure(tmp_path / "cut"), straight)
        assert len(trained) == 2


def test_networks_depend_on_path_and_seed_alone() -> None:
    module, data = short_runs.supernet_module(SPACE), short_runs.digits()
    state = torch.random.get_rng_state()
    first = groundtruth.train(module, data, FLAGS, Network((1,), 0))
    torch.manual_seed(123)
    again = groundtruth.train(
        short_runs.supernet_module(SPACE), short_runs.digits(seed=9), FLAGS, Network((1,), 0)
    )
    other = groundtruth.train(module, data, FLAGS, Network((1,), 1))
    assert first.accuracy == again.accuracy != other.accuracy
    torch.random.set_rng_state(state)


def test_a_network_is_trained_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit = Trainer.fit

    def spy(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(torch.get_num_threads())
        fit(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", spy)
    torch.set_num_threads(2)
    try:
        groundtruth.train(short_runs.supernet_module(SPACE), short_runs.digits(), FLAGS, Network((1,), 0))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
def test_workers_change_no_result(tmp_path: Path) -> None:
    assert np.array_equal(measure(tmp_path / "one"), measure(tmp_path / "two", workers=2))


def test_data_are_prepared_and_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    read, data = DigitsDataModule.read_splits, short_runs.digits()

    def counted(self: DigitsDataModule) -> RawSplits:
        done.append("read")
        return read(self)

    monkeypatch.setattr(DigitsDataModule, "prepare_data", lambda _: done.append("prepared"))
    monkeypatch.setattr(DigitsDataModule, "read_splits", counted)
    groundtruth.measure(short_runs.supernet_module(SPACE), data, FLAGS, 1, 1, tmp_path)
    assert done == ["prepared", "read"]


@pytest.mark.slow
def test_data_of_an_earlier_run_are_sent_to_workers(tmp_path: Path) -> None:
    """Threads that decode images cannot be."""
    photographs.write(tmp_path / "images")

    def images() -> ImageNetDataModule:
        return ImageNetDataModule(tmp_path / "images", 8, 0.25, batch_size=10, eval_batch_size=10, seed=0)

    data, module = images(), SupernetModule(Toy(1, 4, len(photographs.CLASSES), in_channels=3))
    short_runs.trainer(tmp_path, UniformSampler(), DataImportanceSampler(), max_epochs=2).fit(module, data)
    found = groundtruth.measure(module, data, FLAGS, 1, 2, tmp_path / "used")
    assert np.array_equal(found, groundtruth.measure(module, images(), FLAGS, 1, 1, tmp_path / "fresh"))


@pytest.mark.parametrize(("seeds", "workers"), [(0, 1), (1, 0)])
def test_nothing_to_do_is_refused(tmp_path: Path, seeds: int, workers: int) -> None:
    with pytest.raises(NASError, match="both are at least 1"):
        measure(tmp_path, seeds, workers)


def test_spaces_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="ground truth can be measured for"):
        groundtruth.measure(
            short_runs.supernet_module(Toy(layers=30)), short_runs.digits(), FLAGS, 1, 1, tmp_path
        )


def test_the_committed_table_is_the_mean_of_the_committed_runs() -> None:
    folder = Path(__file__).parents[1] / "groundtruth" / "pooling_digits"
    space = Pooling(channels=(8, 16, 32), in_channels=1, image_size=8)
    table = TabularBenchmark.read(folder / "table.csv")
    costs = {space.encode(path): space.cost(path) for path in space}
    table.check(costs, {arch: (cost.params, cost.macs) for arch, cost in costs.items()})
    with (folder / "runs.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len({(row["arch"], row["seed"]) for row in found}) == len(found) == 36 * 20
    for arch, mean in table.column("digits").items():
        runs_of_path = [float(row["accuracy"]) for row in found if row["arch"] == arch]
        assert mean == pytest.approx(np.mean(runs_of_path), abs=1e-4)
