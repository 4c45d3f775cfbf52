"""What a comparison of training methods consists of."""

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from examples.plan_file import Config, PlanFile, Setting
from lightning_nas.errors import NASError

Complexity = Literal["params", "macs"]


@dataclass
class Method:
    """What is compared.

    Attributes:
        config: What it adds to the common configuration.
        paths: Paths that one of its steps trains.
        grid: Settings to choose from: the values of some keys of the command line.
    """

    config: Config
    paths: int = 1
    grid: dict[str, list[Any]] = field(default_factory=dict)

    def settings(self) -> list[Setting]:
        """All combinations of the grid; a single empty one where there is no grid."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]


@dataclass
class Plan(PlanFile):
    """What ``lightning-nas fit`` trains to be compared, and how: a file in configs/compare.

    Attributes:
        methods: The methods by name.
        images: The budget of a run, in images that go forward and backward through a path.
        choice_seed: The seed on which settings are chosen.
        baseline: The method with which all others are compared, seed by seed.
        complexity: What the complexity bias is about.
    """

    methods: dict[str, Method]
    images: int
    choice_seed: int = 0
    baseline: str = "uniform"
    complexity: Complexity = "params"

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """The plan with the keys of a file."""
        methods = {name: Method(**method) for name, method in content.pop("methods").items()}
        return cls(methods=methods, **content)

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


def said(setting: Setting) -> str:
    """A setting, in short."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in setting.items()) or "as given"
