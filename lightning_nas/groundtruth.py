"""Ground truth: every path of a space trained alone, several times."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from lightning import Trainer
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_nas.architecture import network_seed
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.files import written_whole
from lightning_nas.loggers import UNHEARD, quiet
from lightning_nas.module import SupernetModule
from lightning_nas.random import torch_seeded
from lightning_nas.ranking import TableRow, write_table
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace
from lightning_nas.threads import one_thread

RUNS = "groundtruth_runs.csv"
TABLE = "groundtruth.csv"
COLUMNS = ("arch", "seed", "accuracy", "seconds")


class Network(NamedTuple):
    """One network to train: a path and the seed of its weights and its data order."""

    path: Architecture
    seed: int


class Result(NamedTuple):
    """What training a network gave: test accuracy in percent, and seconds on one core."""

    network: Network
    accuracy: float
    seconds: float


def measure(
    module: SupernetModule, data: ImageDataModule, flags: dict[str, Any], seeds: int, workers: int, root: Path
) -> NDArray[np.float64]:
    """Trains every path of the module's space alone with every seed, and writes the table.

    Every finished network is a line of ``groundtruth_runs.csv``; those that stand there already are not
    trained again, so an interrupted measurement continues where it stopped. ``groundtruth.csv`` is written
    when all are done.

    Args:
        module: Names the space, the optimizer and the schedule.
        data: Training images and the test split that is scored.
        flags: Arguments of the Trainer of every network.
        seeds: Networks per path, at least 1.
        workers: Processes, each on one core.
        root: The run directory.

    Returns:
        Test accuracies in percent, shape (paths, seeds).

    Raises:
        NASError: The space is too large, or there is nothing to train.
    """
    require_measurable(module.space, seeds, workers)
    networks = [Network(path, seed) for seed in range(seeds) for path in module.space]
    done = _finished(root / RUNS, module)
    todo = [network for network in networks if network not in done]
    for result in tqdm(
        _train_all(module, data, flags, todo, workers),
        total=len(networks),
        initial=len(networks) - len(todo),
        desc="networks",
        smoothing=0.05,
    ):
        _append(root / RUNS, module, result)
        done[result.network] = result.accuracy
    accuracies = np.array([[done[Network(path, seed)] for seed in range(seeds)] for path in module.space])
    _write(root / TABLE, module, data.name, accuracies)
    return accuracies


def require_measurable(space: SearchSpace, seeds: int, workers: int) -> None:
    """Refuses what ``measure`` cannot do.

    Args:
        space: Whose paths are trained.
        seeds: Networks per path.
        workers: Processes.

    Raises:
        NASError: The space is too large, or there is nothing to train or nobody to do it.
    """
    if seeds < 1 or workers < 1:
        raise NASError(f"seeds is {seeds} and workers is {workers}: both are at least 1")
    if space.size > ENUMERABLE:
        raise NASError(f"the space has {space.size:.3g} paths: ground truth can be measured for {ENUMERABLE}")


def _train_all(
    module: SupernetModule,
    data: ImageDataModule,
    flags: dict[str, Any],
    networks: list[Network],
    workers: int,
) -> Iterator[Result]:
    data.prepare_data()  # once, and not in every process at the same time
    jobs = (joblib.delayed(train)(module, data, flags, network) for network in networks)
    yield from joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)


def train(module: SupernetModule, data: ImageDataModule, flags: dict[str, Any], network: Network) -> Result:
    """Trains one network and scores it on the test split.

    Weights and data order follow from the seed and the path alone, independently for every network, so that
    the spread over seeds is that of independent trainings, and no order of training changes a result.
    """
    started = time.perf_counter()
    seed = network_seed(module.space, network.path, network.seed)
    with torch_seeded(seed):
        standalone = module.standalone(network.path)
    own = UNHEARD | {"enable_progress_bar": False, "limit_val_batches": 0}
    own_data = data.with_seed(seed)
    with quiet(), one_thread():
        trainer = Trainer(**flags | own)
        trainer.fit(standalone, own_data.train_dataloader(), own_data.val_dataloader())
        [metrics] = trainer.test(standalone, own_data.test_dataloader(), verbose=False)
    # Rounded as in the file, so that a resumed measurement gives the same table.
    return Result(network, round(metrics["test/accuracy"], 4), time.perf_counter() - started)


def _finished(runs: Path, module: SupernetModule) -> dict[Network, float]:
    if not runs.is_file():
        return {}
    with runs.open(newline="") as file:
        # The last line of a measurement that was killed may be cut short; it goes, and is trained again.
        rows = [row for row in csv.DictReader(file) if row["seconds"]]
    with written_whole(runs) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([row["arch"], int(row["seed"]), float(row["accuracy"]), float(row["seconds"])])
    return {
        Network(module.space.decode(row["arch"]), int(row["seed"])): float(row["accuracy"]) for row in rows
    }


def _append(runs: Path, module: SupernetModule, result: Result) -> None:
    runs.parent.mkdir(parents=True, exist_ok=True)
    new = not runs.is_file()
    with runs.open("a", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        if new:
            writer.writerow(COLUMNS)
        arch = module.space.encode(result.network.path)
        writer.writerow([arch, result.network.seed, result.accuracy, round(result.seconds, 2)])


def _write(table: Path, module: SupernetModule, dataset: str, accuracies: NDArray[np.float64]) -> None:
    costs = [module.space.cost(path) for path in module.space]
    write_table(
        table,
        dataset,
        [
            TableRow(
                module.space.encode(path), round(row.mean(), 4), round(row.std(), 4), cost.params, cost.macs
            )
            for path, row, cost in zip(module.space, accuracies, costs, strict=True)
        ],
    )
