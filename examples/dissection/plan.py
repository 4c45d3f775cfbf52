"""What a dissection of one-shot scores consists of."""

from dataclasses import dataclass

from examples.plan_file import Config, PlanFile, Setting
from lightning_nas.errors import NASError


@dataclass
class Plan(PlanFile):
    """What ``lightning-nas fit`` trains, on images of batch_size, and what is asked: a file in configs/dissect.

    Attributes:
        base: What the supernet that all others are compared with adds to it.
        models: Other supernets by name: the values of some keys of the command line.
        other_data: Other data by name, as configuration.
        images: The length of a training, in images.
        keep: One-shot pruning: percentages of the scored paths, the last one 100.
        continued_images: How long the best paths are trained on.
        drop: Operation pruning: how many operations.
    """

    base: Config
    models: dict[str, Setting]
    other_data: dict[str, Config]
    images: int
    keep: list[float]
    continued_images: int
    drop: int

    def __post_init__(self) -> None:
        """Refuses what could not be compared.

        Raises:
            NASError: The paths that go on training have nothing to be compared with.
        """
        if not self.keep or self.keep[-1] != 100:
            raise NASError(
                f"plan.keep is {self.keep}: the last one must be 100, with which the others are compared"
            )
