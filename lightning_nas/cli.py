"""The command line: ``lightning-nas VERB -c CONFIG ... --key value``."""

import sys
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

import lightning_nas.data
import lightning_nas.samplers
import lightning_nas.spaces  # noqa: F401  (imported, classes may be given by name alone)
from lightning_nas.callbacks import Ranking
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler
from lightning_nas.trainer import NASTrainer


class SaveConfig(SaveConfigCallback):
    """Keeps the config of ``fit`` in the run directory; other verbs leave it alone."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing: other verbs leave the config alone, and ``fit`` may still be refused."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes ``config.yaml`` where a run begins or continues."""
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "config.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, path, skip_none=False, overwrite=True)


class NASCLI(LightningCLI):
    """Adds the sampler and the ranking to the command line, and links the space to the data."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the keys ``sampler`` and ``ranking``."""
        parser.add_lightning_class_args(PathSampler, "sampler", subclass_mode=True, required=False)
        parser.add_lightning_class_args(Ranking, "ranking")
        for fact in ("num_classes", "in_channels", "image_size"):
            parser.link_arguments(f"data.{fact}", f"model.{fact}", apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs, and which of their arguments are built from the config."""
        return LightningCLI.subcommands() | {"groundtruth": {"model", "datamodule"}}


def main(args: ArgsType = None) -> None:
    """Runs the command line.

    Args:
        args: Arguments instead of those of the process.
    """
    try:
        NASCLI(
            SupernetModule,
            ImageDataModule,
            subclass_mode_data=True,
            trainer_class=NASTrainer,
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            args=args,
        )
    except NASError as error:
        sys.exit(f"lightning-nas: {error}")
