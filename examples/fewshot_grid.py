"""Which split for which differentiable algorithm? Every split with every algorithm, on every dataset.

The tables of Ly-Manson et al., Analyzing Few-Shot Neural Architecture Search in a Metric-Driven Framework (AutoML 2024): the
space is divided into leaves by every metric, and an architecture is learnt in each leaf by every algorithm. Beside the best
of the leaves, which they show, this tells what the leaf has that validates best. And because leaves cost as many searches as there are of
them, a control searches the whole space as often ("restarts").

    python -m examples.fewshot_grid --quick --benchmark nasbench201.csv
    python -m examples.fewshot_grid --roots.cifar10 datasets/cifar10 --benchmark nasbench201.csv --workers 2

Every finished search is a file named by a digest of its settings. Interrupted, the same command continues, also within a search.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.comparison.command import run_as_command
from examples.splitting.plan import Plan
from examples.splitting.report import report
from examples.splitting.searches import Grid
from lightning_nas.errors import NASError

ROOT = Path(__file__).parents[1]
QUICK = "configs/fewshot/quick.yaml"


def search(
    benchmark: str,
    plan: Path = Path("configs/fewshot/nasbench201_reduced.yaml"),
    datasets: list[str] | None = None,
    roots: dict[str, str] | None = None,
    seeds: list[int] | None = None,
    out: Path = Path("runs/fewshot_grid"),
    cache_dir: str | None = None,
    workers: int = 1,
    report_only: bool = False,
) -> None:
    """Splits the space by every metric, and learns an architecture in every leaf by every algorithm.

    Args:
        benchmark: Table of ground truth, from ``lightning-nas fetch-benchmark``.
        plan: What is split and searched: a file in configs/fewshot.
        datasets: Names of those to search on now, such as [cifar10]; None takes all of the plan.
        roots: Folder of the images of every dataset, where they are files.
        seeds: Instead of the plan's.
        out: Folder of runs and results.
        cache_dir: Where decoded images are kept.
        workers: Searches at a time, each with one thread.
        report_only: Search nothing, and report what is finished.
    """
    read = Plan.read(plan)
    read.seeds = seeds or read.seeds
    asked = {"datasets": datasets or [], "roots": list(roots or {})}
    for key, names in asked.items():
        if unknown := set(names) - set(read.datasets):
            raise NASError(f"{key} has {', '.join(sorted(unknown))}: valid are {', '.join(read.datasets)}")
    if datasets:
        read.datasets = {name: read.datasets[name] for name in datasets}
    places = {
        name: {"ranking.benchmark": benchmark}
        | ({"data.root": roots[name]} if roots and name in roots else {})
        | ({"data.cache_dir": cache_dir} if cache_dir else {})
        for name in read.datasets
    }
    grid = Grid(read, out, places)
    if not report_only:
        grid.run(workers)
    report(grid, Console())
    print(f"Tables, figures and runs are in {out}.")


def main(arguments: Sequence[str]) -> None:
    """Runs the command line; ``--quick`` is a plan."""
    words = [word for given in arguments for word in (("--plan", QUICK) if given == "--quick" else (given,))]
    run_as_command(search, "fewshot_grid", words)


if __name__ == "__main__":
    os.chdir(ROOT)
    # One thread per process: the networks are too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
