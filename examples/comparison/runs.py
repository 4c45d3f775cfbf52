"""The trainings of a comparison, and what is kept of each."""

import csv
import hashlib
import json
import multiprocessing
import resource
import shutil
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from examples.comparison.plan import Complexity, said
from examples.comparison.tables import number
from examples.demo import column, silence
from examples.plan_file import Setting
from lightning_nas import checkpoint
from lightning_nas.callbacks.sampling_statistics import effective_sample_size
from lightning_nas.cli import main as lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.ranking import complexity_bias

Result = dict[str, Any]


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
        for position, config in enumerate(self.configs):
            file = self.folder / f"config_{position}.yaml"
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
    context.set_forkserver_preload(["examples.comparison.runs"])

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
