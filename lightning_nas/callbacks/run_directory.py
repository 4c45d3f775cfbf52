"""The rules of a run directory: nothing is overwritten, and a resumed run continues its files."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from lightning_nas import provenance
from lightning_nas.callbacks.metrics_file import MetricsFile
from lightning_nas.errors import NASError
from lightning_nas.latency import Device

ROWS = "lightning_nas_metrics_rows"


class RunDirectory(Callback):
    """Guards the files of a run, which is ``trainer.default_root_dir`` itself.

    ``environment.json`` there says with which command, versions and device it was begun, and last validated and tested.
    """

    def __init__(self) -> None:
        self._rows: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves ``metrics.csv`` to ``fit``: other verbs have files of their own, and may run beside it."""
        for logger in _metrics_files(trainer):
            logger.paused = stage != "fit"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses to train over another run; drops what this one logged after the checkpoint.

        Raises:
            NASError: The directory holds a checkpoint, and the run does not continue from one that lies there.
        """
        root = Path(trainer.default_root_dir).resolve()
        start = trainer.ckpt_path
        continues = start is not None and Path(start).resolve().parent == root
        if (root / "last.ckpt").exists() and not continues and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise NASError(
                f"trainer.default_root_dir {trainer.default_root_dir!r} already holds a run: continue it from its "
                "last.ckpt (--ckpt_path last), or choose another directory"
            )
        for logger in _metrics_files(trainer):
            logger.truncate(self._rows if start is not None and self._rows is not None else 0)
        # A run that continues stays the one that was begun.
        if start is None or "fit" not in provenance.read(root):
            record_provenance(trainer, root, "fit")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says how ``validate`` was run."""
        if trainer.state.fn != "fit":
            record_provenance(trainer, Path(trainer.default_root_dir), "validate")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says how ``test`` was run."""
        record_provenance(trainer, Path(trainer.default_root_dir), "test")

    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Writes pending rows, so that no checkpoint is ahead of its metrics, and says how many belong to it."""
        for logger in _metrics_files(trainer):
            logger.save()
            checkpoint[ROWS] = logger.rows

    def on_load_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Remembers how many rows to keep."""
        self._rows = checkpoint.get(ROWS)


def record_provenance(trainer: Trainer, folder: Path, verb: str) -> None:
    """Says in ``environment.json`` how a verb was run, on the first process alone; of a dry run nothing.

    Args:
        trainer: Knows the device and the number of processes.
        folder: Where the results are.
        verb: What was done.
    """
    if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        device: Device = "cuda" if trainer.strategy.root_device.type == "cuda" else "cpu"
        provenance.record(folder, verb, device, trainer.world_size)


def _metrics_files(trainer: Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
