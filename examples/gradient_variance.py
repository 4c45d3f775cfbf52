"""Gradient variance (GV) and Kendall's tau against the operations of an edge, and against the batch size.

The experiments of Lu et al., PA&DA: Jointly Sampling Path and Data for Consistent NAS (CVPR 2023), Fig. 1(a) and 5(a), on
NAS-Bench-201 with uniform sampling. Every supernet ranks the same 64 networks, those of the smallest space. Which
operations come first, the paper does not say: here the convolutions, so that GV is of the same weights throughout.

    python -m examples.gradient_variance nasbench201.csv --data datasets/cifar10
    python -m examples.gradient_variance nasbench201.csv --quick    # digits, a tiny supernet

Writes ``gradient_variance.csv``, a row per supernet, and two figures. Tau of the quick version means nothing: its images
are digits, and the table knows other ones.
"""

import argparse
import csv
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning import seed_everything
from torch.optim import SGD
from tqdm import tqdm

from examples.demo import silence
from lightning_nas import plots
from lightning_nas.callbacks import GradientVariance, Ranking
from lightning_nas.data import DigitsDataModule, ImageDataModule, ImageFolderDataModule
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201, RestrictedSpace
from lightning_nas.trainer import NASTrainer

# By their numbers in NASBench201: 3x3 and 1x1 convolution, skip, average pooling, none.
OPERATIONS = (3, 2, 1, 4, 0)
BATCH_SIZES = (16, 32, 64, 128, 256, 512)
QUICK_BATCH_SIZES = (16, 50, 150)
VARIED = {"operations": "operations per edge", "batch_size": "images per batch"}


class Supernet(NamedTuple):
    """One training: its experiment is the name of what is varied."""

    experiment: str
    operations: int
    batch_size: int
    seed: int


def supernets(quick: bool, seeds: int) -> list[Supernet]:
    """All trainings of both experiments."""
    sizes, usual = (QUICK_BATCH_SIZES, 50) if quick else (BATCH_SIZES, 256)
    full = len(OPERATIONS)
    first = [Supernet("operations", n, usual, seed) for n in range(2, full + 1) for seed in range(seeds)]
    return first + [Supernet("batch_size", full, size, seed) for size in sizes for seed in range(seeds)]


def train(supernet: Supernet, options: argparse.Namespace) -> tuple[float, float]:
    """Mean GV over the epochs, and tau of the 64 networks at the end."""
    seed_everything(supernet.seed, verbose=False)
    data: ImageDataModule = DigitsDataModule(train_size=1000, batch_size=supernet.batch_size)
    if not options.quick:
        data = ImageFolderDataModule(options.data, batch_size=supernet.batch_size)
    whole = NASBench201(channels=2, cells=1) if options.quick else NASBench201()
    smallest, space = (RestrictedSpace(whole, (OPERATIONS[:n],) * 6) for n in (2, supernet.operations))
    root = options.out / "_".join(map(str, supernet))
    root.mkdir(parents=True, exist_ok=True)
    (root / "archs.txt").write_text("\n".join(map(smallest.encode, smallest)))
    optimizer = partial(SGD, lr=0.05, momentum=0.9, weight_decay=2.5e-4)
    facts = (data.num_classes, data.in_channels, data.image_size)
    module = SupernetModule(space, *facts, optimizer=optimizer, schedule="cosine_epochs")
    ranking = Ranking(options.benchmark, "cifar10", paths=str(root / "archs.txt"))
    trainer = NASTrainer(
        default_root_dir=str(root),
        callbacks=[UniformSampler(), GradientVariance(), ranking],
        max_epochs=options.epochs,
        check_val_every_n_epoch=options.epochs,
        gradient_clip_val=5,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, datamodule=data)
    with (root / "metrics.csv").open(newline="") as file:
        rows = [row["gradient/variance"] for row in csv.DictReader(file)]
    variance = float(np.mean([float(value) for value in rows if value]))
    return variance, float(trainer.callback_metrics["ranking/kendall_tau"])


def draw(experiment: str, supernets: list[Supernet], measured: list[tuple[float, float]], out: Path) -> None:
    """GV and tau against what an experiment varies, means over seeds."""
    by_value = defaultdict[int, list[tuple[float, float]]](list)
    for supernet, numbers in zip(supernets, measured, strict=True):
        if supernet.experiment == experiment:
            by_value[getattr(supernet, experiment)].append(numbers)
    variances, taus = np.array([np.mean(found, axis=0) for found in by_value.values()]).T
    figure = plots.variance_and_tau(list(by_value), variances, taus, VARIED[experiment])
    plots.save(figure, out / f"{experiment}.png")


def main(args: list[str] | None = None) -> None:
    """Trains all supernets, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("benchmark", help="table of NAS-Bench-201, from lightning-nas fetch-benchmark")
    parser.add_argument("--data", default="datasets/cifar10", help="train/<class>/* and test/<class>/*")
    parser.add_argument("--out", type=Path, default=Path("runs/gradient_variance"))
    parser.add_argument("--epochs", type=int, help="of every supernet; 250, or 5 with --quick")
    parser.add_argument("--seeds", type=int, default=1, help="supernets of every kind")
    parser.add_argument("--quick", action="store_true", help="digits and a tiny supernet")
    options = parser.parse_args(args)
    options.epochs = options.epochs or (5 if options.quick else 250)
    if options.quick:
        torch.set_num_threads(1)  # the networks are too small to share
    trained = supernets(options.quick, options.seeds)
    measured = []
    for supernet in (bar := tqdm(trained, unit="supernet")):
        with silence():
            measured.append(train(supernet, options))
        variance, tau = measured[-1]
        bar.write(
            f"{supernet.operations} operations per edge, {supernet.batch_size} images per batch, seed {supernet.seed}: "
            f"GV {variance:.2e}, tau {tau:+.3f}"
        )
    columns = zip(*(one + numbers for one, numbers in zip(trained, measured, strict=True)), strict=True)
    names = (*Supernet._fields, "gradient_variance", "kendall_tau")
    plots.save_table(options.out / "gradient_variance.csv", dict(zip(names, columns, strict=True)))
    for experiment in VARIED:
        draw(experiment, trained, measured, options.out)
    print(f"A table and two figures are in {options.out}")


if __name__ == "__main__":
    main()
