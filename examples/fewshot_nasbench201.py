"""One supernet against eight, at the same budget: does splitting help, and does it matter by what?

625 paths of NAS-Bench-201 (three edges and the last one free) on CIFAR-10 of 16x16 pixels: one supernet of the whole, and eight
of its leaves, split by gradient matching, by parameters and at random, each of which trains an eighth of the epochs. Splitting is
what Ly-Manson et al., Analyzing Few-Shot Neural Architecture Search in a Metric-Driven Framework (AutoML 2024), compare.

    python -m examples.fewshot_nasbench201 nasbench201.csv --root datasets/cifar10
    python -m examples.fewshot_nasbench201 nasbench201.csv --quick    # digits, tiny supernets

Interrupted, the same command continues. Writes ``fewshot.csv``, a row per method and seed, and ``fewshot.png``. Seconds are those of
the processor, in the last call. Tau of the quick version means nothing: its images are digits, and the table knows other ones.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from lightning import seed_everything
from torch.optim import SGD
from tqdm import tqdm

from examples.comparison.tables import markdown, spread
from examples.demo import silence
from lightning_nas import plots
from lightning_nas.callbacks import Ranking
from lightning_nas.data import DigitsDataModule, ImageDataModule, ImageFolderDataModule
from lightning_nas.fewshot import GradientMatching, ParameterCount, RandomSplit, SplitMetric
from lightning_nas.files import written_whole
from lightning_nas.module import SupernetModule
from lightning_nas.ranking import TabularBenchmark, kendall_tau
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201, RestrictedSpace
from lightning_nas.threads import one_thread
from lightning_nas.trainer import NASTrainer

DEPTH = 3
LEAVES = 2**DEPTH
ALL = (0, 1, 2, 3, 4)
# The third node is fed by a skip connection and a 1x1 convolution.
ALLOWED = (ALL, ALL, ALL, (1,), (2,), ALL)
METHODS: dict[str, SplitMetric | None] = {
    "one supernet": None,
    "gradient matching": GradientMatching(),
    "parameters": ParameterCount(),
    "random": RandomSplit(),
}


def data_of(options: argparse.Namespace) -> ImageDataModule:
    """Digits or CIFAR-10."""
    if options.quick:
        return DigitsDataModule(train_size=200, val_size=100, batch_size=100, eval_batch_size=100)
    return ImageFolderDataModule(
        root=options.root,
        image_size=16,
        val_fraction=0.6,  # 20,000 images are trained on
        batch_size=128,
        eval_batch_size=500,
        crop_padding=2,
        cache_dir=options.cache_dir,
    )


def module_of(options: argparse.Namespace, data: ImageDataModule) -> SupernetModule:
    """An untrained supernet."""
    whole = NASBench201(channels=2, cells=1) if options.quick else NASBench201(channels=8, cells=1)
    space = RestrictedSpace(whole, ALLOWED)
    optimizer = partial(SGD, lr=0.05, momentum=0.9, weight_decay=2.5e-4)
    return SupernetModule(space, data.num_classes, data.in_channels, data.image_size, optimizer=optimizer)


def run(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Trains and scores one method with one seed, or goes on with that."""
    with silence(), one_thread():
        return _run(method, seed, options)


def _run(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    root = options.out / f"{method.replace(' ', '_')}-{seed}"
    if not (root / "result.json").is_file():
        _train(method, seed, root, options)
    seconds = json.loads((root / "result.json").read_text())["seconds"]
    return {"method": method, "seed": seed, **ranked(root / "ranking.csv"), "seconds": seconds}


def ranked(table: Path) -> dict[str, float]:
    """How accuracies and losses rank, and the ground truth of the path that each puts first."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth, accuracy, loss = (
        np.array([float(row[key]) for row in rows]) for key in ("ground_truth", "accuracy", "loss")
    )
    return {
        "tau": kendall_tau(accuracy, truth),
        "tau_of_loss": kendall_tau(-loss, truth),
        "found": float(truth[accuracy.argmax()]),
        "found_by_loss": float(truth[loss.argmin()]),
    }


def _train(method: str, seed: int, root: Path, options: argparse.Namespace) -> None:
    """Trains and scores, and writes the file that says that it is done."""
    started, metric = time.process_time(), METHODS[method]
    seed_everything(seed, verbose=False)
    data = data_of(options)
    module = module_of(options, data)
    trainer = NASTrainer(
        default_root_dir=str(root),
        callbacks=[UniformSampler(), Ranking(options.benchmark, "cifar10", probe_size=0)],
        max_epochs=options.epochs if metric else LEAVES * options.epochs,
        check_val_every_n_epoch=options.epochs if metric else LEAVES * options.epochs,
        gradient_clip_val=5,
        limit_val_batches=4,  # 2,000 images score
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = root / "last.ckpt"
    if metric is None:
        trainer.fit(module, data, ckpt_path=last if last.is_file() else None)
        trainer.validate(module, data, verbose=False)
    else:
        if not (root / "tree.json").is_file():
            trainer.split(module, data, metric, depth=DEPTH)
        trainer.fit_fewshot(module, data)
        trainer.validate_fewshot(module, data)
    with written_whole(root / "result.json") as temporary:
        temporary.write_text(json.dumps({"seconds": round(time.process_time() - started, 1)}) + "\n")


def main(args: list[str] | None = None) -> None:
    """Trains all supernets, one after the other, and compares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("benchmark", help="table of NAS-Bench-201, from lightning-nas fetch-benchmark")
    parser.add_argument("--root", default="datasets/cifar10", help="images in the folders train and test")
    parser.add_argument("--cache_dir", help="where decoded images are kept")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, each with one thread")
    parser.add_argument("--out", type=Path, default=Path("runs/fewshot_nasbench201"))
    parser.add_argument("--epochs", type=int, help="of every leaf, an eighth of all; 3, or 1 with --quick")
    parser.add_argument("--seeds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="digits and tiny supernets")
    options = parser.parse_args(args)
    options.epochs = options.epochs or (1 if options.quick else 3)
    options.seeds = options.seeds or (1 if options.quick else 3)
    grid = [(method, seed) for seed in range(options.seeds) for method in METHODS]
    results = []
    jobs = (joblib.delayed(run)(method, seed, options) for method, seed in grid)
    found = joblib.Parallel(n_jobs=options.workers, return_as="generator")(jobs)
    for result in (bar := tqdm(found, total=len(grid), unit="run")):
        results.append(result)
        bar.write(", ".join(f"{name} {value}" for name, value in result.items()))
    summarise(results, options)


def summarise(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Prints means over the seeds, and writes table and figure."""
    space = RestrictedSpace(NASBench201(), ALLOWED)
    truth = TabularBenchmark.read(options.benchmark).truth(space, "cifar10")
    by_params = kendall_tau([space.cost(path).params for path in truth], list(truth.values()))
    plots.save_table(
        options.out / "fewshot.csv", {name: [row[name] for row in results] for name in results[0]}
    )
    rows = defaultdict[str, list[dict[str, Any]]](list)
    for row in results:
        rows[row["method"]].append(row)
    taus = {
        f"{method}, by {name}": [row[key] for row in found]
        for method, found in rows.items()
        for name, key in (("accuracy", "tau"), ("loss", "tau_of_loss"))
    }
    plots.save(plots.tau_of_methods(taus, {"parameters": by_params}), options.out / "fewshot.png")
    table = [row_of(method, found) for method, found in rows.items()]
    print(markdown(table))
    print(f"Parameters alone: tau {by_params:+.3f}; the best of all has {max(truth.values()):.2f} %.")


def row_of(method: str, found: list[dict[str, Any]]) -> dict[str, str]:
    """A method over its seeds."""

    def over_seeds(key: str, form: str) -> str:
        return spread([row[key] for row in found], form)

    return {
        "": method,
        "tau by accuracy": over_seeds("tau", "+.3f"),
        "by loss": over_seeds("tau_of_loss", "+.3f"),
        "found by accuracy, %": over_seeds("found", ".2f"),
        "by loss, %": over_seeds("found_by_loss", ".2f"),
        "CPU seconds": over_seeds("seconds", ".0f"),
    }


if __name__ == "__main__":
    main()
