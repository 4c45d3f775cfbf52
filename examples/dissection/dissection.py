"""A plan that is carried out: trainings, and parts of the space that their scores tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from examples.comparison.runs import Run, train_all
from examples.demo import silence
from examples.dissection.plan import Plan
from examples.plan_file import Config, Setting
from lightning_nas.cli import main as lightning_nas

COMPLEXITY: Final = "params"


@dataclass
class Dissection:
    """A plan that is carried out.

    Attributes:
        plan: What is trained and asked.
        out: Folder of runs and results.
        images: Where images lie, by key of the command line.
        benchmark: Table of ground truth.
    """

    plan: Plan
    out: Path
    images: dict[str, str]
    benchmark: str

    def base(self, seed: int) -> Run:
        """The supernet that all others are compared with."""
        return self._run("base", seed, self.plan.base)

    def model(self, name: str, seed: int) -> Run:
        """A supernet of other size or normalisation."""
        return self._run(name, seed, {}, self.plan.models[name])

    def on(self, data: str, seed: int) -> Run:
        """A supernet of other data."""
        run = self._run(data, seed, self.plan.other_data[data])
        run.places = {"ranking.benchmark": self.benchmark}
        return run

    def best(self, keep: float, seed: int) -> Run:
        """The best paths of the base, which go on training alone."""
        return self._run(f"best {keep:g}", seed, self._part(seed, "keep", keep), continued=True)

    def fewer(self, seed: int) -> Run:
        """A supernet without the worst operations of the base."""
        return self._run("fewer operations", seed, self._part(seed, "drop", self.plan.drop))

    def base_of_fewer(self, seed: int) -> Path:
        """What the base says of the paths without these operations."""
        return self.base(seed).folder / "fewer" / "ranking.csv"

    def train(self, workers: int) -> None:
        """Trains what is not finished."""
        plan = self.plan
        first = [self.base(seed) for seed in plan.seeds]
        first += [self.model(name, seed) for seed in plan.seeds for name in plan.models]
        first += [self.on(data, seed) for seed in plan.seeds for data in plan.other_data]
        train_all(first, workers, COMPLEXITY)
        pruned = [self.best(keep, seed) for seed in plan.seeds for keep in plan.keep]
        train_all(pruned + [self.fewer(seed) for seed in plan.seeds], workers, COMPLEXITY)
        for seed in plan.seeds:
            if not self.base_of_fewer(seed).exists():
                self._score_fewer(seed)

    def _score_fewer(self, seed: int) -> None:
        base, paths = self.base(seed).folder, self.fewer(seed).folder / "ranking.csv"
        given = {
            "ckpt_path": base / "last.ckpt",
            "ranking.paths": paths,
            "ranking.stratified": "false",
            "ranking.by_batches": "false",
            "trainer.default_root_dir": self.base_of_fewer(seed).parent,
        }
        flags = [f"--{key}={value}" for key, value in given.items()]
        with silence():
            lightning_nas(["validate", "-c", str(base / "config.yaml"), *flags])

    def _part(self, seed: int, by: str, value: float) -> Config:
        """The configuration of a part of the space, which the finished base tells."""
        folder = self.base(seed).folder
        file = folder / f"{by}_{value:g}.yaml"
        if not file.exists():
            inherit = ["--inherit"] if by == "keep" else []
            with silence():
                lightning_nas(["prune", str(folder), f"--{by}", f"{value:g}", *inherit, "--out", str(file)])
        config: Config = yaml.safe_load(file.read_text())
        return config

    def _run(
        self, name: str, seed: int, config: Config, setting: Setting | None = None, continued: bool = False
    ) -> Run:
        plan = self.plan
        images = plan.continued_images if continued else plan.images
        steps = images // plan.training["data"]["init_args"]["batch_size"]
        places = {**self.images, "ranking.benchmark": self.benchmark}
        name = name.replace(" ", "_")
        return Run(name, setting or {}, seed, [plan.training, config], steps, places, self.out / "runs")
