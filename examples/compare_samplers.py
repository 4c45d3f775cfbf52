"""Trains one supernet with every method, at the same budget and with several seeds, and compares what they rank.

    python -m examples.compare_samplers --quick
    python -m examples.compare_samplers --plan configs/compare/pooling_cifar10.yaml --root datasets/cifar10 \
        --benchmark pooling_resnet20.csv

The budget is a number of images that go forward and backward: a method that trains several paths on a batch has so
many times fewer steps. What a method computes besides (densities, scores of candidates) costs time and no budget.

A method with a grid is trained with all of its settings on one seed; the one of the highest tau is then trained and
reported on the other seeds alone.

Every finished run is a file named by a digest of its settings. Interrupted, the same command continues; what is
finished is not trained again, and a changed setting is another run.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from examples.comparison.command import run_as_command
from examples.comparison.comparison import Comparison
from examples.comparison.plan import Plan
from examples.comparison.report import report
from lightning_nas.errors import NASError

ROOT = Path(__file__).parents[1]
QUICK = "configs/compare/quick.yaml"


def compare(
    plan: Path,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    out: Path = Path("runs/compare"),
    root: str | None = None,
    cache_dir: str | None = None,
    benchmark: str | None = None,
    workers: int = 1,
    report_only: bool = False,
) -> None:
    """Trains one supernet with every method, at the same budget and with several seeds, and compares what they rank.

    Args:
        plan: What is compared: a file in configs/compare.
        methods: Names of the methods to train now, such as [uniform,fair]; None trains all. The report has all.
        seeds: The seeds that are reported, instead of the plan's.
        out: Folder of runs and results.
        root: Folder of the images, where they are files.
        cache_dir: Where decoded images are kept.
        benchmark: Table of ground truth, instead of the plan's.
        workers: Runs at a time, each with one thread.
        report_only: Train nothing, and report what is finished.
    """
    read = Plan.read(plan) if seeds is None else replace(Plan.read(plan), seeds=seeds)
    names = list(read.methods) if methods is None else methods
    if unknown := set(names) - set(read.methods):
        raise NASError(f"methods has {', '.join(sorted(unknown))}: valid are {', '.join(read.methods)}")
    places = {"data.root": root, "data.cache_dir": cache_dir, "ranking.benchmark": benchmark}
    comparison = Comparison(read, out, {key: place for key, place in places.items() if place is not None})
    if not report_only:
        comparison.train(names, workers)
    report(comparison, Console())
    print(f"Tables, figure and runs are in {out}.")


def main(arguments: Sequence[str]) -> None:
    """Runs the command line; ``--quick`` is a plan."""
    words = [word for given in arguments for word in (("--plan", QUICK) if given == "--quick" else (given,))]
    run_as_command(compare, "compare_samplers", words)


if __name__ == "__main__":
    os.chdir(ROOT)
    # One thread per process: the networks are too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
