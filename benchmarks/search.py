"""How many paths a search scores until it has found one of the best half percent.

The ground truth itself is the score, so no supernet stands in between. A path counts when it is asked for, also by
Boltzmann, which visits paths again and again: there the unit is a batch of images. Exhaustive search has no seed.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.measure import Figure, parser, relative, report
from lightning_nas.data.image_folder import default_cache_dir
from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.search import (
    NSGA2,
    AgingEvolution,
    Boltzmann,
    Evolution,
    Exhaustive,
    FeasibleSpace,
    RandomSearch,
    SearchAlgorithm,
)
from lightning_nas.spaces import NASBench201, NASBenchMacro, SearchSpace
from lightning_nas.spaces import Path as Architecture

SHARE = 0.005
SEEDS = 20
# Budgets beyond what anything here needs.
ALGORITHMS: dict[str, Callable[[], SearchAlgorithm]] = {
    "exhaustive": Exhaustive,
    "random": lambda: RandomSearch(evaluations=20_000),
    "evolution": lambda: Evolution(generations=200),
    "aging_evolution": lambda: AgingEvolution(evaluations=10_000),
    "boltzmann": lambda: Boltzmann(evaluations=5000),
    "nsga2": lambda: NSGA2(generations=200),
}
SPACES: dict[str, tuple[SearchSpace, str]] = {
    "nasbench201": (NASBench201(), "nasbench201"),
    "macro": (NASBenchMacro(), "nasbench-macro"),
}


def truth_of(space: str, folder: Path) -> dict[Architecture, float]:
    """CIFAR-10 accuracies of all paths."""
    description, name = SPACES[space]
    file = next(
        (
            file
            for file in (folder / f"{name}.csv", folder / f"{name.replace('-', '_')}.csv")
            if file.is_file()
        ),
        None,
    )
    if file is None:
        raise NASError(f"--tables {folder} has no {name}.csv: lightning-nas fetch-benchmark {name} writes it")
    return TabularBenchmark.read(file).truth(description, "cifar10")


def threshold(truth: Mapping[Architecture, float]) -> float:
    """What the worst of the best half percent reaches."""
    return float(np.sort(list(truth.values()))[-int(SHARE * len(truth))])


def evaluations(
    algorithm: SearchAlgorithm, space: SearchSpace, truth: Mapping[Architecture, float], seed: int
) -> int:
    """The paths that are scored until one of the best is."""
    good, asked = threshold(truth), 0
    algorithm.begin(FeasibleSpace(space), seed)
    while paths := algorithm.ask(100):
        for path in paths:
            asked += 1
            if truth[path] >= good:
                return asked
        algorithm.tell(paths, [truth[path] for path in paths])
    raise RuntimeError(f"{type(algorithm).__name__} found none with seed {seed} and {asked} paths")


def main() -> None:
    arguments = parser(__doc__)
    known = os.environ.get("LIGHTNING_NAS_DATA")
    arguments.add_argument(
        "--tables",
        type=Path,
        default=(Path(known) if known else default_cache_dir()) / "benchmarks",
        help="folder of nasbench201.csv and nasbench-macro.csv; otherwise the one that fetch-benchmark writes into",
    )
    given = arguments.parse_args()
    figures: list[Figure] = []
    for space, (description, _) in SPACES.items():
        truth = truth_of(space, given.tables)
        found: dict[str, list[int]] = {}
        for name, make in ALGORITHMS.items():
            seeds = range(1 if name == "exhaustive" else 4 if given.quick else SEEDS)
            counts = [evaluations(make(), description, truth, seed) for seed in seeds]
            found[name] = counts
            figures.append(Figure(f"{space}.{name}.median_evaluations", counts, "paths"))
            figures.append(Figure(f"{space}.{name}.worst_evaluations", [max(counts)], "paths"))
        # Seeds are not rounds: those of one algorithm have nothing in common with those of another.
        figures += [
            relative(
                f"{space}: paths until one of the best is scored, {name} / random",
                [median(counts)],
                [median(found["random"])],
                "paths",
            )
            for name, counts in found.items()
            if name not in ("exhaustive", "random")
        ]
    report(figures, given)


if __name__ == "__main__":
    main()
