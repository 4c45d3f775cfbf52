"""What a dissection of one-shot scores consists of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.comparison.plan import Setting
from examples.plan_file import read_plan
from lightning_nas.errors import NASError

Config = dict[str, Any]


@dataclass
class Plan:
    """What is trained and asked: a file in configs/dissect.

    Attributes:
        title: Of the table.
        training: The common configuration of ``lightning-nas fit``; its data are images of batch_size.
        base: What the supernet that all others are compared with adds to it.
        models: Other supernets by name: the values of some keys of the command line.
        other_data: Other data by name, as configuration.
        images: The length of a training, in images.
        keep: One-shot pruning: percentages of the scored paths, the last one 100.
        continued_images: How long the best paths are trained on.
        drop: Operation pruning: how many operations.
        seeds: Trainings of every kind.
    """

    title: str
    training: Config
    base: Config
    models: dict[str, Setting]
    other_data: dict[str, Config]
    images: int
    keep: list[float]
    continued_images: int
    drop: int
    seeds: list[int]

    @classmethod
    def read(cls, file: Path) -> "Plan":
        """The plan of a file.

        Raises:
            NASError: There is no such file, or a key is missing or unknown.
        """
        return read_plan(file, lambda content: cls(**content))

    def __post_init__(self) -> None:
        """Refuses what could not be compared.

        Raises:
            NASError: The paths that go on training have nothing to be compared with.
        """
        if not self.keep or self.keep[-1] != 100:
            raise NASError(
                f"plan.keep is {self.keep}: the last one must be 100, with which the others are compared"
            )
