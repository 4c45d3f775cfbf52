"""What one-shot scores depend on: models, data, pruning, validation batches, checkpoints.

The experiments of Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures (NeurIPS 2021), Sec. 4.1,
5.3 and 6 and App. A.1 and A.3, in a size that two cores can do: proxy models and wider ones, batch-norm with scale and shift,
one-shot and operation pruning, few validation batches, loss against accuracy, stability between checkpoints, and
other data, in the training and in the ground truth; beside them forgetting, similarity of gradients and trainability.

    python -m examples.dissect_estimators --quick
    python -m examples.dissect_estimators --root datasets/cifar10 --benchmark nasbench201.csv

Every finished run is a file named by a digest of its settings. Interrupted, the same command continues; what is finished is
not trained again. ``--quick`` trains tiny supernets on digits, with a ground truth that is made up: its numbers mean nothing.
"""

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.comparison.command import run_as_command
from examples.dissection.dissection import Dissection
from examples.dissection.plan import Plan
from examples.dissection.report import report
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.spaces import NASBench201

ROOT = Path(__file__).parents[1]


def dissect(
    plan: Path = Path("configs/dissect/nasbench201_cifar10.yaml"),
    quick: bool = False,
    seeds: list[int] | None = None,
    out: Path = Path("runs/dissect"),
    root: str | None = None,
    cache_dir: str | None = None,
    benchmark: str | None = None,
    workers: int = 2,
) -> None:
    """Trains supernets of all kinds, and tells what their scores depend on.

    Args:
        plan: What is trained and asked: a file in configs/dissect.
        quick: Everything once, tiny, on digits.
        seeds: Instead of the plan's.
        out: Folder of runs and results.
        root: Folder of the images.
        cache_dir: Where decoded images are kept.
        benchmark: Table of ground truth of NAS-Bench-201.
        workers: Runs at a time, each with one thread.
    """
    read = Plan.read(Path("configs/dissect/quick.yaml") if quick else plan)
    read.seeds = seeds or read.seeds
    if quick:
        benchmark = str(made_up(out / "made_up.csv"))
    if benchmark is None or (root is None and not quick):
        raise NASError("root and benchmark are needed, or quick")
    places = {"data.root": root, "data.cache_dir": cache_dir}
    images = {key: place for key, place in places.items() if place is not None}
    found = Dissection(read, out, images, benchmark)
    found.train(workers)
    report(found, Console())
    print(f"Tables, figure and runs are in {out}.")


def made_up(file: Path) -> Path:
    """A table of NAS-Bench-201 that knows nothing but how many convolutions a cell has."""
    space = NASBench201()
    with written_whole(file) as temporary, temporary.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["arch", "cifar10", "cifar100"])
        for path in space:
            accuracy = 50 + 5 * path.count(3) + 3 * path.count(2)
            writer.writerow([space.encode(path), accuracy, accuracy - 5 * path.count(0)])
    return file


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    words = ["--quick=true" if given == "--quick" else given for given in arguments]
    run_as_command(dissect, "dissect_estimators", words)


if __name__ == "__main__":
    os.chdir(ROOT)
    # One thread per process: the networks are too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
