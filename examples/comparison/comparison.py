"""A plan that is carried out: settings are chosen, and methods trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.comparison.plan import Plan
from examples.comparison.runs import Result, Run, train_all
from examples.plan_file import Setting

Results = dict[int, Result]  # by seed


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
