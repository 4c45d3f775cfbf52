"""Trains one supernet with two samplers and shows which one ranks better, and why.

Everything here is also a command: what ``train`` does for every sampler and seed is

    lightning-nas fit -c configs/spaces/pooling_small.yaml -c configs/data/digits.yaml -c configs/demo.yaml ...
    lightning-nas validate ... --ckpt_path last

Interrupted, it continues where it stopped; what is finished under runs/demo is not trained again.
"""

import contextlib
import csv
import json
import logging
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats
from tqdm import tqdm

from lightning_nas import checkpoint, plots
from lightning_nas.cli import main
from lightning_nas.ranking import kendall_tau
from lightning_nas.ranking.reliability import reliability

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RUNS = Path("runs/demo")
SAMPLERS = {"uniform": [], "density": ["--sampler.tau", "2"]}
SEEDS = range(5)
CONFIGS = ["spaces/pooling_small", "data/digits", "demo"]


def train(sampler: str, seed: int) -> None:
    """Fits and validates one supernet, unless that was done before."""
    run = RUNS / sampler / f"seed{seed}"
    if (run / "seconds.json").exists():
        return
    started = time.perf_counter()
    configs = [f"configs/{name}.yaml" for name in (*CONFIGS, f"samplers/{sampler}")]
    arguments = [word for config in configs for word in ("-c", config)]
    arguments += ["--seed_everything", str(seed), "--trainer.default_root_dir", str(run)]
    arguments += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    resume = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
    with silence():
        main(["fit", *arguments, *SAMPLERS[sampler], *resume])
        main(["validate", *arguments, *SAMPLERS[sampler], "--ckpt_path", "last"])
    (run / "seconds.json").write_text(json.dumps(time.perf_counter() - started))


@contextlib.contextmanager
def silence() -> Any:
    """Ten trainings at once have nothing readable to say; errors still come through."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings(), Path(os.devnull).open("w") as sink, contextlib.redirect_stdout(sink):
        warnings.simplefilter("ignore")
        yield


def column(path: Path, name: str) -> list[str]:
    """One column of a CSV file."""
    with path.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def numbers(sampler: str, file: str, name: str) -> Floats:
    """One column of a file of every run, shape (seeds, paths)."""
    return np.array(
        [[float(cell) for cell in column(RUNS / sampler / f"seed{seed}" / file, name)] for seed in SEEDS]
    )


def visits(sampler: str) -> Floats:
    """How often every path was trained, over all seeds."""
    total = 0
    for seed in SEEDS:
        states = checkpoint.read(RUNS / sampler / f"seed{seed}" / "last.ckpt")["callbacks"]
        [counts] = [state["visits"] for state in states.values() if "visits" in state]
        total = total + counts.numpy()
    return np.asarray(total, dtype=np.float64)


def results(sampler: str) -> dict[str, list[float]]:
    """Every criterion, a number per seed."""
    reports = []
    for seed in SEEDS:
        run = RUNS / sampler / f"seed{seed}"
        seconds = json.loads((run / "seconds.json").read_text())
        reports.append({**json.loads((run / "ranking.json").read_text()), "seconds": seconds})
    return {key: [report[key] for report in reports] for key in reports[0]}


def ceiling() -> float:
    """The tau that a perfect scorer would reach against the measured ground truth."""
    file = ROOT / "groundtruth/pooling_digits/runs.csv"
    by_arch: dict[str, list[float]] = {}
    for arch, accuracy in zip(column(file, "arch"), column(file, "accuracy"), strict=True):
        by_arch.setdefault(arch, []).append(float(accuracy))
    return reliability(list(by_arch.values())).tau_ceiling


def spread(values: list[float], form: str) -> str:
    """Mean and standard deviation over seeds."""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('+')}}"


def verdict(uniform: list[float], density: list[float]) -> str:
    """What the paired differences of the taus allow to say."""
    difference = np.array(density, dtype=float) - np.array(uniform, dtype=float)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    gap = f"density minus uniform: {difference.mean():+.3f} tau, standard error {error:.3f}"
    if not abs(difference.mean()) > error * stats.t.ppf(0.975, len(difference) - 1):
        return (
            f"{gap}. No difference that {len(difference)} seeds can show: trust neither over the other here."
        )
    return f"{gap}. Trust the {'density-aware' if difference.mean() > 0 else 'uniform'} supernet here."


def report(console: Console) -> None:
    """Prints the table, writes the summary and draws the figures."""
    summary: dict[str, Any] = {sampler: results(sampler) for sampler in SAMPLERS}
    truth = numbers("uniform", "ranking.csv", "ground_truth")[0]
    macs = numbers("uniform", "ranking.csv", "macs")[0]
    by_macs = kendall_tau(macs, truth)
    # All paths of this space have the same parameters, so their number ranks nothing.
    summary["baselines"] = {"macs": by_macs, "params": None}
    summary["tau_ceiling"] = ceiling()
    (RUNS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")

    table = Table(title=f"36 poolings of ResNet-20 on digits, {len(SEEDS)} seeds each")
    for name in ("ranked by", "Kendall tau", "density bias", "best pick, %", "s per run"):
        table.add_column(name, justify="left" if name == "ranked by" else "right")
    for sampler in SAMPLERS:
        found = summary[sampler]
        taus, biases = (spread(found[key], "+.2f") for key in ("kendall_tau", "density_bias"))
        picks = spread(found["top1_ground_truth"], ".1f")
        table.add_row(f"supernet, {sampler}", taus, biases, picks, f"{np.mean(found['seconds']):.0f}")
    table.add_row("multiply-adds", f"{by_macs:+.2f}", "", f"{truth[macs.argmax()]:.1f}", "0")
    table.add_row("parameters", "all equal", "", "", "0")
    console.print(table)
    console.print(
        f"Best pick: true accuracy of the path ranked first; the best of all has {truth.max():.1f} %."
    )
    console.print(
        f"No tau can be expected above {ceiling():.2f}: the ground truth itself is only that reliable."
    )
    console.print(verdict(summary["uniform"]["kendall_tau"], summary["density"]["kendall_tau"]))
    draw(truth)


def draw(truth: Floats) -> None:
    """The figures."""
    labels = column(RUNS / "uniform/seed0/ranking.csv", "arch")
    distance = numbers("uniform", "density.csv", "mean_distance").mean(0)
    scores = {sampler: numbers(sampler, "ranking.csv", "accuracy") for sampler in SAMPLERS}
    counts = {sampler: visits(sampler) for sampler in SAMPLERS}
    figures = {
        "score_vs_ground_truth": plots.score_vs_ground_truth(truth, scores, labels),
        "sorted_by_density": plots.sorted_by_density(distance, truth, scores, labels),
        "sampling_frequency": plots.sampling_frequency(distance, counts, labels),
        "summary": plots.summary(distance, truth, scores, counts, labels),
    }
    for name, figure in figures.items():
        plots.save(figure, RUNS / f"{name}.png")


if __name__ == "__main__":
    os.chdir(ROOT)
    # One thread per process: the networks are too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    jobs = [joblib.delayed(train)(sampler, seed) for seed in SEEDS for sampler in SAMPLERS]
    workers = joblib.Parallel(n_jobs=min(len(jobs), joblib.cpu_count()), return_as="generator_unordered")
    for _ in tqdm(workers(jobs), total=len(jobs), desc="training supernets", unit="run", file=sys.stdout):
        pass
    report(Console())
    print(f"Figures and summary.json are in {RUNS}; remove that folder to train again.")
