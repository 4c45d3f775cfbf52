"""What a grid of splits and algorithms consists of."""

from dataclasses import dataclass

from examples.plan_file import Config, PlanFile
from lightning_nas.errors import NASError

NONE = "none"
RESTARTS = "restarts"


@dataclass
class Plan(PlanFile):
    """What is split and searched, by ``lightning-nas split`` and ``learn``: a file in configs/fewshot.

    Attributes:
        datasets: Data and column of the ground truth by name, as configuration.
        metrics: What the space is split by, by name, as values of ``--metric``. Beside them there are ``none``, a single search
            of the whole space, and ``restarts``, as many searches of it as there are leaves.
        algorithms: How an architecture is learnt, by name, as configuration.
        depth: Levels of a split; each divides in two.
    """

    datasets: dict[str, Config]
    metrics: dict[str, Config]
    algorithms: dict[str, Config]
    depth: int

    def __post_init__(self) -> None:
        """Refuses names that mean something else.

        Raises:
            NASError: A metric has the name of a control.
        """
        if taken := {NONE, RESTARTS} & set(self.metrics):
            raise NASError(f"plan.metrics has {', '.join(sorted(taken))}, which searches the whole space")

    @property
    def splits(self) -> list[str]:
        """The controls and the metrics."""
        return [NONE, RESTARTS, *self.metrics]
