"""From a supernet to a network that classifies an image, and how far the searches were from the best there is.

    python -m examples.find_a_network --quick
    python -m examples.find_a_network --root datasets/cifar10 --benchmark nasbench_macro.csv

Every seed trains a supernet of NAS-Bench-Macro with density-aware sampling; three algorithms search in it, each with the
same number of paths. The regret of a search is the true accuracy of the best network of the space minus that of the
one it found. The winner of the first evolution is trained alone, exported to ONNX, and run by onnxruntime.

Every step is a command of ``lightning-nas``, which is printed. Interrupted, the same call continues; what is finished is
not done again. ``--quick`` does everything once in a tiny size on digits: its numbers mean nothing.
"""

import argparse
import csv
import json
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from lightning_nas import plots
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.spaces import NASBenchMacro

ROOT = Path(__file__).parents[1]
SEARCHES = {"random": "RandomSearch", "aging evolution": "AgingEvolution", "evolution": "Evolution"}
POPULATION = 50


@dataclass(frozen=True)
class Study:
    """What is done, and where.

    Attributes:
        out: Folder of runs and results.
        shared: Arguments of every verb that needs model and data.
        benchmark: Table of ground truth; None where there is none.
        seeds: Supernets.
        epochs: Of a supernet.
        retrain_epochs: Of the winner alone.
        budget: Paths that every search scores, a multiple of the population of 50.
        scoring: More arguments of a search.
    """

    out: Path
    shared: Sequence[str]
    benchmark: Path | None
    seeds: int
    epochs: int
    retrain_epochs: int
    budget: int
    scoring: Sequence[str] = ()

    def supernet(self, seed: int) -> Path:
        """The run directory of a supernet."""
        return self.out / f"supernet-{seed}"

    def found(self, seed: int, search: str) -> Path:
        """The folder of a search's results."""
        return self.supernet(seed) / search.replace(" ", "_")

    def train(self, seed: int) -> None:
        """Trains a supernet, or the rest of it."""
        run = self.supernet(seed)
        done = run / "trained"
        if done.exists():
            return
        flags = [
            "--trainer.max_epochs",
            str(self.epochs),
            "--trainer.check_val_every_n_epoch",
            str(self.epochs + 1),
        ]
        more = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
        do(
            "fit",
            *self.shared,
            "--seed_everything",
            str(seed),
            "--sampler",
            "DensitySampler",
            *flags,
            *self._in(run),
            *more,
        )
        done.touch()

    def search(self, seed: int, name: str) -> None:
        """Searches in a supernet."""
        if (self.found(seed, name) / "search.json").exists():
            return
        generations = self.budget // POPULATION - 1
        budget = {"evolution": ["--algorithm.generations", str(generations)]}
        own = budget.get(name, ["--algorithm.evaluations", str(self.budget)])
        truth = [] if self.benchmark is None else ["--ranking.benchmark", str(self.benchmark)]
        run = self.supernet(seed)
        do(
            *(
                "search",
                "-c",
                str(run / "config.yaml"),
                "--ckpt_path",
                "last",
                "--algorithm",
                SEARCHES[name],
                *own,
            ),
            *(*truth, *self.scoring, "--out", str(self.found(seed, name))),
        )

    def retrain(self) -> None:
        """Trains the winner of the first evolution alone."""
        run = self.out / "network"
        if (run / "retrain.json").exists():
            return
        more = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
        winner = str(self.found(0, "evolution") / "search.json")
        flags = ["--trainer.max_epochs", str(self.retrain_epochs), "--trainer.check_val_every_n_epoch", "1"]
        do("retrain", *self.shared, "--arch", winner, *flags, *self._in(run), *more)

    def export(self) -> Path:
        """Writes the winner as ONNX."""
        file = self.out / "network.onnx"
        if not file.exists():
            run = self.out / "network"
            given = ["-c", str(run / "config.yaml"), "--ckpt_path", str(run / "last.ckpt")]
            do("export", *given, "--to", "onnx", "--out", str(file))
        return file

    def _in(self, run: Path) -> list[str]:
        return ["--trainer.default_root_dir", str(run)]


def do(*args: str) -> None:
    """Prints a command and runs it."""
    print(f"\n$ lightning-nas {shlex.join(args)}", flush=True)
    with warnings.catch_warnings():
        # It is, with arguments of its own.
        warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python")
        lightning_nas(list(args))


# -------------------------------------------------------------------------------------------- what came out


def regrets(study: Study, truth: dict[str, float]) -> dict[str, list[float]]:
    """For every search, by how many points its network is worse than the best, for every seed."""
    best = max(truth.values())
    return {
        search: [
            best - truth[json.loads((study.found(seed, search) / "search.json").read_text())["best"]["arch"]]
            for seed in range(study.seeds)
        ]
        for search in SEARCHES
    }


def counted(truth: dict[str, float]) -> dict[str, float]:
    """The regret of the largest network, for which nothing needs to be trained, by what is counted."""
    space, best = NASBenchMacro(), max(truth.values())
    costs = {arch: space.cost(space.decode(arch)) for arch in truth}
    largest = {
        "parameters": max(truth, key=lambda arch: costs[arch].params),
        "multiply-adds": max(truth, key=lambda arch: costs[arch].macs),
    }
    return {name: best - truth[arch] for name, arch in largest.items()}


def courses(study: Study, truth: dict[str, float]) -> dict[str, np.ndarray]:
    """For every search, the regret of the path that led after so many evaluations, shape (seeds, evaluations)."""
    best = max(truth.values())
    found: dict[str, np.ndarray] = {}
    for search in SEARCHES:
        rows = []
        for seed in range(study.seeds):
            with (study.found(seed, search) / "search.csv").open(newline="") as file:
                table = list(csv.DictReader(file))
            scores = np.array([float(row["score"]) for row in table])
            leaders = [int(scores[: i + 1].argmax()) for i in range(len(scores))]
            rows.append([best - truth[table[leader]["arch"]] for leader in leaders])
        found[search] = np.array(rows)
    return found


def report(study: Study) -> None:
    """Prints the regrets beside those of no search, and draws their course."""
    assert study.benchmark is not None
    truth = TabularBenchmark.read(study.benchmark).column("cifar10")
    best, mean = max(truth.values()), float(np.mean(list(truth.values())))
    table = Table(
        title=f"Found in {study.seeds} supernets, {study.budget} paths each (best of all: {best:.2f} %)"
    )
    for column in ("search", "regret, points", "paths that are better"):
        table.add_column(column, justify="left" if column == "search" else "right")
    found = regrets(study, truth)
    for search, values in found.items():
        ranks = [sum(accuracy > best - value for accuracy in truth.values()) for value in values]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        table.add_row(search, f"{np.mean(values):.2f}{spread}", ", ".join(map(str, ranks)))
    for name, value in counted(truth).items():
        better = sum(accuracy > best - value for accuracy in truth.values())
        table.add_row(f"the path of most {name}", f"{value:.2f}", f"{better}")
    table.add_row("a random path, on average", f"{best - mean:.2f}", "")
    Console().print(table)
    plots.save(plots.regret_over_evaluations(courses(study, truth)), study.out / "regret.png")
    with written_whole(study.out / "regret.json") as temporary:
        temporary.write_text(
            json.dumps({"best": best, "random": best - mean, **counted(truth), "regret": found}, indent=2)
            + "\n"
        )


def classify(study: Study, file: Path) -> None:
    """Runs the exported network on one image of the test split."""
    import onnxruntime
    import yaml

    import lightning_nas.data

    kept = yaml.safe_load((study.out / "network" / "config.yaml").read_text())["data"]
    data = getattr(lightning_nas.data, kept["class_path"].rpartition(".")[2])(**kept["init_args"])
    images, labels = data.splits.test.batch(torch.arange(1))
    session = onnxruntime.InferenceSession(file)
    [logits] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    odds = np.exp(logits[0] - logits[0].max())
    names = data.classes or range(data.num_classes)
    guess = int(odds.argmax())
    print(
        f"\n{file} says of the first test image, which is {names[int(labels[0])]!r}: {names[guess]!r} "
        f"(probability {odds[guess] / odds.sum():.2f})"
    )


def main(arguments: Sequence[str]) -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="everything once, tiny, on digits")
    parser.add_argument("--root", help="CIFAR-10 as image files: train/<class>/* and test/<class>/*")
    parser.add_argument(
        "--benchmark", type=Path, help="table of NAS-Bench-Macro (lightning-nas fetch-benchmark)"
    )
    parser.add_argument("--cache_dir", help="where decoded images are kept")
    parser.add_argument("--seeds", type=int, default=3, help="supernets")
    parser.add_argument("--epochs", type=int, default=8, help="of a supernet")
    parser.add_argument(
        "--budget", type=int, default=300, help=f"paths of a search, a multiple of {POPULATION}"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/find_a_network"))
    given = parser.parse_args(arguments)
    if given.budget < POPULATION or given.budget % POPULATION:
        raise NASError(f"--budget is {given.budget}: valid are multiples of {POPULATION}")
    if not given.quick and (given.root is None or given.benchmark is None):
        raise NASError("--root and --benchmark are needed, or --quick")
    study = quick(given.out) if given.quick else full(given)
    for seed in range(study.seeds):
        study.train(seed)
        for search in SEARCHES:
            study.search(seed, search)
    study.retrain()
    classify(study, study.export())
    if study.benchmark is not None:
        report(study)


def full(given: argparse.Namespace) -> Study:
    """NAS-Bench-Macro at a quarter of its widths, on CIFAR-10 of 16x16 pixels."""
    shared = [
        "-c",
        str(ROOT / "configs/data/image_folder.yaml"),
        "-c",
        str(ROOT / "configs/recipes/macro_narrow_uniform.yaml"),
    ]
    shared += ["--data.root", given.root, "--ranking.paths", "1"]
    shared += ["--data.cache_dir", given.cache_dir] if given.cache_dir else []
    # 2,000 images.
    scoring = ["--trainer.limit_val_batches", "4"]
    return Study(given.out, shared, given.benchmark, given.seeds, given.epochs, 20, given.budget, scoring)


def quick(out: Path) -> Study:
    """A tiny NAS-Bench-Macro on digits."""
    shared = [
        "-c",
        str(ROOT / "configs/spaces/macro_small.yaml"),
        "-c",
        str(ROOT / "configs/data/digits.yaml"),
    ]
    return Study(out, shared, None, seeds=1, epochs=5, retrain_epochs=3, budget=100)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except NASError as error:
        sys.exit(f"find_a_network: {error}")
