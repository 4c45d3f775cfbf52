"""Trains one supernet with every method, at the same budget and with several seeds, and compares what they rank.

    python examples/compare_samplers.py --quick
    python examples/compare_samplers.py --plan configs/compare/pooling_cifar10.yaml --root datasets/cifar10 \
        --benchmark pooling_resnet20.csv

The budget is a number of images that go forward and backward: a method that trains several paths on a batch has so
many times fewer steps. What a method computes besides (densities, scores of candidates) costs time and no budget.

A method with a grid is trained with all of its settings on one seed; the one of the highest tau is then trained and
reported on the other seeds alone.

Every finished run is a file named by a digest of its settings. Interrupted, the same command continues; what is
finished is not trained again, and a changed setting is another run.
"""

import csv
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jsonargparse
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from scipy import stats
from tqdm import tqdm

from examples.demo import column, silence
from lightning_nas import checkpoint, plots
from lightning_nas.callbacks.sampling_statistics import effective_sample_size
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.ranking import complexity_bias, kendall_tau

ROOT = Path(__file__).parents[1]
QUICK = "configs/compare/quick.yaml"

Result = dict[str, Any]
Results = dict[int, Result]  # by seed
Setting = dict[str, Any]
Complexity = Literal["params", "macs"]


class Criterion(NamedTuple):
    """A column of the table: its name, its key in the file of a run, and how numbers are written."""

    name: str
    key: str
    form: str


QUALITY = (
    Criterion("tau", "kendall_tau", "+.3f"),
    Criterion("P@top5", "p_at_top_5", ".2f"),
    Criterion("top-1", "top1_ground_truth", ".2f"),
    Criterion("top-5", "top5_ground_truth", ".2f"),
    Criterion("top-10", "top10_ground_truth", ".2f"),
)
REASONS_AND_COSTS = (
    Criterion("density bias", "density_bias", "+.2f"),
    Criterion("CB", "complexity_bias", ".2f"),
    Criterion("ESS", "effective_sample_size", ".1f"),
    Criterion("GV", "gradient_variance", ".2e"),
    Criterion("CPU s", "cpu_seconds", ".0f"),
    Criterion("peak MB", "peak_megabytes", ".0f"),
)
CRITERIA = QUALITY + REASONS_AND_COSTS


@dataclass
class Method:
    """What is compared.

    Attributes:
        config: What it adds to the common configuration.
        paths: Paths that one of its steps trains.
        grid: Settings to choose from: the values of some keys of the command line.
    """

    config: dict[str, Any]
    paths: int = 1
    grid: dict[str, list[Any]] = field(default_factory=dict)

    def settings(self) -> list[Setting]:
        """All combinations of the grid; a single empty one where there is no grid."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]


@dataclass
class Plan:
    """What is compared, and how: a file in configs/compare.

    Attributes:
        title: Of the table.
        training: The common configuration of ``lightning-nas fit``.
        methods: The methods by name.
        images: The budget of a run, in images that go forward and backward through a path.
        seeds: The seeds that are reported.
        choice_seed: The seed on which settings are chosen.
        baseline: The method with which all others are compared, seed by seed.
        complexity: What the complexity bias is about.
    """

    title: str
    training: dict[str, Any]
    methods: dict[str, Method]
    images: int
    seeds: list[int]
    choice_seed: int = 0
    baseline: str = "uniform"
    complexity: Complexity = "params"

    @classmethod
    def read(cls, file: Path) -> "Plan":
        """The plan of a file.

        Raises:
            NASError: There is no such file, or a key is missing or unknown.
        """
        if not file.is_file():
            raise NASError(f"plan is {file}: there is no such file")
        content = yaml.safe_load(file.read_text())
        try:
            methods = {name: Method(**method) for name, method in content.pop("methods").items()}
            return cls(methods=methods, **content)
        except (KeyError, TypeError) as error:
            raise NASError(f"plan is {file}, which has not the keys of a plan: {error}") from error

    def __post_init__(self) -> None:
        """Refuses what could not be compared.

        Raises:
            NASError: There is no baseline, or settings would be reported on the seed that they were chosen on.
        """
        if self.baseline not in self.methods:
            raise NASError(f"plan.baseline is {self.baseline!r}: valid are {', '.join(self.methods)}")
        if self.choice_seed in self.seeds:
            raise NASError(
                f"plan.seeds are {self.seeds}, but {self.choice_seed} is for choosing settings alone"
            )


@dataclass
class Run:
    """One training.

    Attributes:
        name: Of the method.
        setting: The point of its grid.
        seed: Of weights, data order and sampler.
        configs: The common configuration and that of the method.
        steps: Length of the training.
        places: Where data and ground truth lie, which does not change the run.
        out: Folder of all runs.
    """

    name: str
    setting: Setting
    seed: int
    configs: list[dict[str, Any]]
    steps: int
    places: dict[str, str]
    out: Path

    @property
    def folder(self) -> Path:
        """The run directory."""
        identity = [self.name, self.setting, self.seed, self.configs, self.steps]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / f"{self.name}-{digest}"

    @property
    def file(self) -> Path:
        """What came out; there as soon as the run is finished."""
        return self.folder.with_suffix(".json")

    def result(self) -> Result | None:
        """What came out, if it is finished."""
        return json.loads(self.file.read_text()) if self.file.exists() else None

    def arguments(self) -> list[str]:
        """Those of ``lightning-nas fit``. Writes the configuration files that they name."""
        given = {
            "seed_everything": self.seed,
            "trainer.default_root_dir": str(self.folder),
            "trainer.max_steps": self.steps,
            "trainer.enable_progress_bar": False,
            "trainer.enable_model_summary": False,
            **self.places,
            **self.setting,
        }
        words = []
        for number, config in enumerate(self.configs):
            file = self.folder / f"config_{number}.yaml"
            with written_whole(file) as temporary:
                temporary.write_text(yaml.safe_dump(config, sort_keys=False))
            words += ["-c", str(file)]
        for key, value in given.items():
            words.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
        return words


def train(run: Run, complexity: Complexity) -> None:
    """Trains and validates one supernet from the beginning, and writes its file. Has the process to itself."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    shutil.rmtree(run.folder, ignore_errors=True)
    with silence():
        started, busy = time.perf_counter(), time.process_time()
        lightning_nas(["fit", *run.arguments()])
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
        lightning_nas(["validate", "-c", str(run.folder / "config.yaml"), "--ckpt_path", "last"])
    score, truth, counts = (ranked(run, key) for key in ("accuracy", "ground_truth", complexity))
    found = {
        "method": run.name,
        "setting": run.setting,
        "seed": run.seed,
        "steps": run.steps,
        **json.loads((run.folder / "ranking.json").read_text()),
        "complexity_bias": complexity_bias(score, truth, counts),
        "effective_sample_size": effective_paths(run.folder / "last.ckpt"),
        "gradient_variance": last_gradient_variance(run.folder / "metrics.csv"),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    with written_whole(run.file) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")


def ranked(run: Run, name: str) -> list[float]:
    """A column of the ranking."""
    return [float(cell) for cell in column(run.folder / "ranking.csv", name)]


def effective_paths(last: Path) -> float | None:
    """Effective sample size of what the whole run trained, its warm-up included."""
    [visits] = [state["visits"] for state in checkpoint.read(last)["callbacks"].values() if "visits" in state]
    return None if visits is None else effective_sample_size(visits)


def last_gradient_variance(metrics: Path) -> float | None:
    """That of the last epoch, where GradientVariance watched the run."""
    with metrics.open(newline="") as file:
        values = [row.get("gradient/variance") for row in csv.DictReader(file)]
    return next((float(value) for value in reversed(values) if value), None)


def train_all(runs: Sequence[Run], workers: int, complexity: Complexity) -> None:
    """Trains what is not finished, every run in a process of its own, so that its memory can be told.

    Raises:
        NASError: A run failed; its process has said why.
    """
    # A fork of a process that has imported everything starts at once, and has no threads to lose.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["examples.demo"])

    def train_alone(run: Run) -> Run:
        process = context.Process(target=train, args=(run, complexity), daemon=True)
        process.start()
        process.join()
        if process.exitcode:
            raise NASError(
                f"{run.name} with {run.setting} and seed {run.seed} failed: see above, and {run.folder}"
            )
        return run

    todo = [run for run in runs if run.result() is None]
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(train_alone, run) for run in todo]
        bar = tqdm(as_completed(jobs), total=len(runs), initial=len(runs) - len(todo), unit="run")
        try:
            for job in bar:
                run = job.result()
                found = run.result() or {}
                bar.write(
                    f"{run.name}, {said(run.setting)}, seed {run.seed}: tau {number(found['kendall_tau'], '+.3f')}"
                )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class Comparison:
    """A plan that is carried out.

    Attributes:
        plan: What is compared.
        out: Folder of runs and results.
        places: Where data and ground truth lie, by key of the command line.
    """

    plan: Plan
    out: Path
    places: dict[str, str]

    def run(self, name: str, setting: Setting, seed: int) -> Run:
        """A training of a method."""
        plan, method = self.plan, self.plan.methods[name]
        steps = plan.images // (plan.training["data"]["init_args"]["batch_size"] * method.paths)
        configs = [plan.training, method.config]
        return Run(name, setting, seed, configs, steps, self.places, self.out / "runs")

    def tried(self, name: str) -> list[Run]:
        """The runs that a setting is chosen by; none where there is only one."""
        settings = self.plan.methods[name].settings()
        return (
            [self.run(name, setting, self.plan.choice_seed) for setting in settings]
            if len(settings) > 1
            else []
        )

    def chosen(self, name: str) -> Setting | None:
        """The setting of the highest tau; None before all are tried."""
        taus = [result["kendall_tau"] or -1.0 for run in self.tried(name) if (result := run.result())]
        settings = self.plan.methods[name].settings()
        if len(settings) == 1:
            return settings[0]
        return settings[int(np.argmax(taus))] if len(taus) == len(settings) else None

    def reported(self, name: str) -> Results:
        """The finished runs of the chosen setting, by seed."""
        setting = self.chosen(name)
        runs = [] if setting is None else [self.run(name, setting, seed) for seed in self.plan.seeds]
        return {run.seed: result for run in runs if (result := run.result())}

    def train(self, names: Sequence[str], workers: int) -> None:
        """Chooses the settings of some methods, then trains them seed by seed."""
        complexity = self.plan.complexity
        train_all([run for name in names for run in self.tried(name)], workers, complexity)
        chosen = {name: self.chosen(name) or {} for name in names}
        runs = [self.run(name, setting, seed) for seed in self.plan.seeds for name, setting in chosen.items()]
        train_all(runs, workers, complexity)

    # ------------------------------------------------------------------------------------------------- report

    def report(self, console: Console) -> None:
        """Prints the tables of what is finished, writes ``results.csv`` and ``results.md``, and draws the figure."""
        finished = {name: found for name in self.plan.methods if (found := self.reported(name))}
        if not finished:
            console.print("Nothing is finished yet.")
            return
        rows, grid = [self._row(name, found) for name, found in finished.items()], self._grid()
        counts = self._taus_of_counts(next(iter(finished)))
        # Two tables, because one is too wide for a terminal.
        for others in (REASONS_AND_COSTS, QUALITY):
            left_out = {criterion.name for criterion in others}
            part = [{key: cell for key, cell in row.items() if key not in left_out} for row in rows]
            console.print(table_of(self.plan.title, part))
        if grid:
            console.print(table_of(f"Settings tried on seed {self.plan.choice_seed}", grid))
        console.print(self._caption(counts), highlight=False)
        parts = [
            f"## {self.plan.title}",
            self._caption(counts),
            markdown(rows),
            *([markdown(grid)] if grid else []),
        ]
        with written_whole(self.out / "results.md") as temporary:
            temporary.write_text("\n\n".join(parts) + "\n")
        plots.save_table(self.out / "results.csv", columns_of(finished))
        taus = {name: values(found, "kendall_tau") for name, found in finished.items()}
        plots.save(plots.tau_of_methods(taus, counts), self.out / "tau_of_methods.png")

    def _row(self, name: str, found: Results) -> dict[str, str]:
        setting, baseline = self.chosen(name), self.plan.baseline
        return {
            "method": name + (f" ({said(setting)})" if setting else ""),
            "seeds": str(len(found)),
            **{
                criterion.name: spread(values(found, criterion.key), criterion.form) for criterion in CRITERIA
            },
            f"tau - {baseline}": difference(found, self.reported(baseline)),
        }

    def _grid(self) -> list[dict[str, str]]:
        """Every setting that was tried."""
        return [
            {
                "method": name,
                "setting": said(run.setting),
                "tau": number(result["kendall_tau"], "+.3f"),
                "ESS": number(result["effective_sample_size"], ".1f"),
                "chosen": "yes" if run.setting == self.chosen(name) else "",
            }
            for name in self.plan.methods
            for run in self.tried(name)
            if (result := run.result())
        ]

    def _taus_of_counts(self, name: str) -> dict[str, float]:
        """What parameters and multiply-adds rank without any training; nothing where all are equal."""
        run = self.run(name, self.chosen(name) or {}, next(iter(self.reported(name))))
        truth, counts = ranked(run, "ground_truth"), {key: ranked(run, key) for key in ("params", "macs")}
        return {key: kendall_tau(values, truth) for key, values in counts.items() if len(set(values)) > 1}

    def _caption(self, counts: dict[str, float]) -> str:
        untrained = ", ".join(f"{name} {tau:+.3f}" for name, tau in counts.items())
        return (
            f"{self.plan.images:,} images forward and backward per run, whatever the method. Mean ± standard "
            f"deviation over seeds. A method with a grid has the setting of the highest tau on seed "
            f"{self.plan.choice_seed}, which is not reported. Last column: mean paired difference ± half of its 95 % "
            f"confidence interval. Kendall tau without training: {untrained}. top-k: mean true accuracy of the k paths "
            f"ranked first. CB: complexity bias by {self.plan.complexity}, .5 is none. ESS: effective sample size of "
            "the paths trained, warm-up included. GV: gradient variance of the last epoch; n/a where no choice has "
            "weights of its own. CPU s: processor time of the training, with one thread. Peak MB: resident memory of the "
            "process, libraries included."
        )


def values(found: Results, key: str) -> list[float]:
    """A criterion of several runs; NaN where one has none."""
    return [math.nan if (value := result[key]) is None else float(value) for result in found.values()]


def columns_of(finished: dict[str, Results]) -> dict[str, list[Any]]:
    """The criteria of every run that is reported, a row each."""
    results = [result for found in finished.values() for result in found.values()]
    columns = {key: [result[key] for result in results] for key in ("method", "seed")}
    columns["setting"] = [json.dumps(result["setting"]) for result in results]
    return columns | {c.key: [result[c.key] for result in results] for c in CRITERIA}


def number(value: float | None, form: str) -> str:
    """A number, or that there is none."""
    return "n/a" if value is None or math.isnan(value) else f"{value:{form}}"


def spread(numbers: Sequence[float], form: str) -> str:
    """Mean and, of several, standard deviation over seeds."""
    mean = number(float(np.mean(numbers)), form)
    if mean == "n/a" or len(numbers) == 1:
        return mean
    return f"{mean} ± {np.std(numbers, ddof=1):{form.lstrip('+')}}"


def difference(found: Results, baseline: Results) -> str:
    """Mean difference of the taus over the seeds of both, and half of its 95 % confidence interval."""
    both = [seed for seed in found if seed in baseline]
    taus, others = (
        values({seed: results[seed] for seed in both}, "kendall_tau") for results in (found, baseline)
    )
    gaps = np.array(taus) - np.array(others)
    if len(gaps) < 2 or not gaps.any():
        return ""
    half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return f"{gaps.mean():+.3f} ± {half:.3f}"


def said(setting: Setting) -> str:
    """A setting, in short."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in setting.items()) or "as given"


def table_of(title: str, rows: Sequence[dict[str, str]]) -> Table:
    """Rows as a table to print."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("method", "setting") else "right")
    for row in rows:
        table.add_row(*row.values())
    return table


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows as a table of Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
    comparison.report(Console())
    print(f"Tables, figure and runs are in {out}.")


def main(arguments: Sequence[str]) -> None:
    """Runs the command line; ``--quick`` is a plan."""
    words = [word for given in arguments for word in (("--plan", QUICK) if given == "--quick" else (given,))]
    try:
        jsonargparse.auto_cli(compare, as_positional=False, args=words)
    except NASError as error:
        sys.exit(f"compare_samplers: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted: the same command continues.")


if __name__ == "__main__":
    os.chdir(ROOT)
    # One thread per process: the networks are too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
