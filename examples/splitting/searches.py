"""The splits and searches of a grid, and what is kept of each."""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import yaml
from tqdm import tqdm

from examples.demo import silence
from examples.plan_file import Config
from examples.splitting.plan import NONE, RESTARTS, Plan
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.fewshot import TREE
from lightning_nas.files import written_whole
from lightning_nas.threads import one_thread

RESULT = "result.json"


class Cell(NamedTuple):
    """A search: of which part of which split it is, and how it learns."""

    dataset: str
    split: str
    algorithm: str
    seed: int
    leaf: int


class Found(NamedTuple):
    """What came out of a search.

    Attributes:
        arch: The architecture.
        accuracy: Of it with the shared weights, on validation images, in percent.
        ground_truth: Of it trained alone, in percent.
        seconds: Of the processor, since the search was last continued.
    """

    arch: str
    accuracy: float
    ground_truth: float
    seconds: float


@dataclass
class Grid:
    """A plan that is carried out.

    Attributes:
        plan: What is split and searched.
        out: Folder of runs and results.
        places: Where the data of a dataset and the ground truth lie, by key of the command line, which changes no result.
    """

    plan: Plan
    out: Path
    places: dict[str, dict[str, str]]

    def cells(self) -> list[Cell]:
        """All searches, seed by seed."""
        plan = self.plan
        return [
            Cell(dataset, split, algorithm, seed, leaf)
            for seed in plan.seeds
            for dataset in plan.datasets
            for split in plan.splits
            for algorithm in plan.algorithms
            for leaf in range(1 if split == NONE else 2**plan.depth)
        ]

    def tree(self, cell: Cell) -> Path:
        """Folder of the split that a search is of."""
        configs = [self.plan.metrics[cell.split], self.plan.depth, *self._common(cell.dataset)]
        return self.out / "splits" / _named(configs, cell.dataset, cell.split, cell.seed)

    def folder(self, cell: Cell) -> Path:
        """The run directory of a search."""
        split = None if cell.split in (NONE, RESTARTS) else [self.plan.metrics[cell.split], self.plan.depth]
        configs = [split, self.plan.algorithms[cell.algorithm], *self._common(cell.dataset)]
        return self.out / "searches" / _named(configs, *cell)

    def found(self, cell: Cell) -> Found | None:
        """What came out of a search, if it is finished."""
        file = self.folder(cell) / RESULT
        return Found(**json.loads(file.read_text())) if file.is_file() else None

    def run(self, workers: int) -> None:
        """Splits, then searches, what is not finished."""
        cells = self.cells()
        todo = [cell for cell in cells if self.found(cell) is None]
        trees = {self.tree(cell): cell for cell in todo if cell.split not in (NONE, RESTARTS)}
        splits = [cell for tree, cell in trees.items() if not (tree / TREE).is_file()]
        for _ in tqdm(_each(partial(_split, self), splits, workers), total=len(splits), unit="split"):
            pass
        bar = tqdm(
            _each(partial(_search, self), todo, workers), total=len(cells), initial=len(cells) - len(todo)
        )
        for cell in bar:
            bar.set_postfix_str(" ".join(map(str, cell)))

    def _common(self, dataset: str) -> list[Config]:
        return [self.plan.datasets[dataset], self.plan.training]

    def words(self, verb: str, root: Path, cell: Cell, *configs: Config) -> list[str]:
        """A command line. Writes the configuration files that it names."""
        words = [verb]
        for position, config in enumerate([*self._common(cell.dataset), *configs]):
            file = root / f"config_{position}.yaml"
            with written_whole(file) as temporary:
                temporary.write_text(yaml.safe_dump(config, sort_keys=False))
            words += ["-c", str(file)]
        given = {**self.places[cell.dataset], "trainer.default_root_dir": str(root)}
        return words + [word for key, value in given.items() for word in (f"--{key}", value)]


def _named(configs: Sequence[Any], *names: object) -> str:
    """A folder for every content of the configurations."""
    digest = hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()[:12]
    return "-".join([*map(str, names), digest])


def _each(work: Any, cells: Sequence[Cell], workers: int) -> Iterable[Cell]:
    """Does the work on every cell, some at a time, and yields what is done."""
    jobs = (joblib.delayed(work)(cell) for cell in cells)
    return joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)  # type: ignore[no-any-return]


def _split(grid: Grid, cell: Cell) -> Cell:
    root = grid.tree(cell)
    words = grid.words("split", root, cell, {"metric": grid.plan.metrics[cell.split]})
    words += ["--depth", str(grid.plan.depth), "--seed_everything", str(cell.seed)]
    with silence(), one_thread():
        lightning_nas(words)
    return cell


def _search(grid: Grid, cell: Cell) -> Cell:
    """Learns an architecture, or goes on with that."""
    root, started = grid.folder(cell), time.process_time()
    configs = [grid.plan.algorithms[cell.algorithm]]
    seed = cell.seed
    if cell.split == RESTARTS:
        seed += 1000 * cell.leaf  # the first is the search without restarts
    elif cell.split != NONE:
        configs.append(yaml.safe_load((grid.tree(cell) / f"leaf-{cell.leaf}.yaml").read_text()))
    words = [*grid.words("learn", root, cell, *configs), "--seed_everything", str(seed)]
    if (root / "last.ckpt").is_file():
        words += ["--ckpt_path", "last"]
    with silence(), one_thread():
        lightning_nas(words)
    best = json.loads((root / "learn.json").read_text())["best"]
    if best["ground_truth"] is None:
        raise NASError(f"the table of ground truth does not know {best['arch']}")
    seconds = round(time.process_time() - started, 1)
    found = Found(best["arch"], best["genotype_accuracy"], best["ground_truth"], seconds)
    with written_whole(root / RESULT) as temporary:
        temporary.write_text(json.dumps(found._asdict()) + "\n")
    return cell
