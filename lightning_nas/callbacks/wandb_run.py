"""A run in Weights & Biases, beside the files of its run directory."""

import io
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

ID = "wandb_id.txt"
BY_EPOCH = ("val/", "test/", "ranking/")
"""The groups of metrics that are drawn over epochs; all others are drawn over optimizer steps."""


class Position(NamedTuple):
    """Where in a training something was measured.

    Attributes:
        step: Optimizer steps.
        epoch: Number of the epoch, from 0 as in ``metrics.csv``.
    """

    step: int
    epoch: int


class WandbRun(WandbLogger):
    """Logs a run to W&B, under one id for one run directory: a run that is continued stays the same there.

    The id is kept in ``wandb_id.txt``. W&B numbers the rows itself, so that none is refused after a run was continued; the
    axes are ``trainer/global_step``, and ``epoch`` for ``val/``, ``test/`` and ``ranking/``. Rows that were logged after the
    checkpoint from which a run continues stand there twice, with the same values. Without a network
    (``WANDB_MODE=offline``, or ``offline``) everything waits in ``wandb/`` in the run directory for ``wandb sync``.
    Checkpoints are not uploaded. ``WandbResults`` adds configuration, tables, histograms and artifacts.

    It needs a ``NASTrainer``, which says where the run directory is.

    Args:
        project: Project in W&B; None takes that of the environment (``WANDB_PROJECT``), or else ``lightning_nas``.
        entity: User or team; None takes the usual one.
        name: What the run is called; None takes the name of the run directory.
        group: What the runs of several seeds have in common.
        tags: Labels of the run.
        offline: Keep everything on this machine, whatever ``WANDB_MODE`` says.

    Attributes:
        measured_at: Where the weights come from while they are only evaluated; None during training.

    Raises:
        NASError: wandb is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        offline: bool = False,
    ) -> None:
        project = project or os.environ.get("WANDB_PROJECT", "lightning_nas")
        # Lightning would set WANDB_MODE for the whole process.
        mode = "offline" if offline else None
        try:
            super().__init__(name=name, project=project, entity=entity, group=group, tags=tags, mode=mode)
        except ModuleNotFoundError as error:
            raise NASError(
                "trainer.logger is WandbRun, but wandb is not installed: pip install 'lightning-nas[wandb]', or leave it out, "
                "for metrics.csv is written all the same"
            ) from error
        self._directory: Path | None = None
        self.measured_at: Position | None = None

    def enter(self, directory: str) -> None:
        """Says where the run directory is."""
        self._directory = Path(directory)
        self._save_dir = self._wandb_init["dir"] = directory
        self._wandb_init["name"] = self._wandb_init["name"] or self._directory.resolve().name

    @property
    def name(self) -> str:
        """The folder of the logger below the run directory: none."""
        return ""

    @property
    def version(self) -> str:
        """The folder of the attempt below the run directory: none."""
        return ""

    @property
    def experiment(self) -> Any:
        """The run of wandb, once it is open; until then, and on all ranks but the first, one that does nothing.

        Lightning asks for it before a run may be refused, and must not open it.

        Raises:
            NASError: The Trainer is no NASTrainer.
        """
        if self._directory is None:
            raise NASError("WandbRun needs a NASTrainer, which says where the run directory is")
        return self._experiment or _DummyExperiment()

    @rank_zero_only
    def open(self) -> None:
        """Begins the run in W&B, or continues it.

        Raises:
            NASError: W&B cannot be reached, or does not know the user.
        """
        from wandb.errors import Error

        assert self._directory is not None
        self._wandb_init["id"] = _kept_id(self._directory / ID)
        self._defined: set[str] = set()
        try:
            super().experiment  # noqa: B018 # made by being asked for
        except Error as error:
            raise NASError(
                f"W&B cannot begin the run ({str(error).splitlines()[0]}): log in (wandb login), or set WANDB_MODE=offline "
                "and upload later (wandb sync)"
            ) from error

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: ``WandbResults`` hands over ``config.yaml``, which has them all."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Adds a row: numbers, and whatever else W&B shows."""
        if self._experiment is None:
            return
        if self.measured_at is not None:
            step, epoch = self.measured_at
            metrics = {**metrics, "epoch": epoch}
        for name in metrics.keys() - self._defined:
            if name.startswith(BY_EPOCH):
                self._experiment.define_metric(name, step_metric="epoch")
        self._defined |= metrics.keys()
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Adds images; figures are drawn."""
        drawn = [_drawn(image) if isinstance(image, Figure) else image for image in images]
        super().log_image(key, drawn, step, **kwargs)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Closes the run; the next verb continues it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def _kept_id(path: Path) -> str:
    """The id of the run directory, a new one where it has none."""
    if not path.is_file():
        with written_whole(path) as temporary:
            temporary.write_text(uuid.uuid4().hex[:12] + "\n")
    return path.read_text().strip()


def _drawn(figure: Figure) -> PIL.Image.Image:
    """The image of a figure, for wandb itself draws those of pyplot only."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return PIL.Image.open(buffer)
