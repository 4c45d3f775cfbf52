"""The configuration that a run keeps: what was asked for, without what belongs to one call of one verb."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

KEYS = ("seed_everything", "trainer", "model", "data", "sampler", "data_sampler", "ranking")

RETRAIN_KEYS = (*KEYS, "arch", "number", "inherit", "tricks")

LEARN_KEYS = (*KEYS, "strategy", "alphas")

FEWSHOT_KEYS = (*KEYS, "tree", "inherit", "halving")


def shared_config(
    parser: LightningArgumentParser, config: Namespace, keys: Sequence[str] = KEYS
) -> dict[str, Any]:
    """The settings of a run, in plain types; by default those that every verb understands."""
    dumped = yaml.safe_load(parser.dump(config, skip_none=False, skip_validation=True))
    return {key: dumped[key] for key in keys}


def save(config: dict[str, Any], root: Path) -> None:
    """Writes ``config.yaml``."""
    with written_whole(root / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False))


def require_unchanged(config: dict[str, Any], root: Path) -> None:
    """Refuses to continue work that was begun with other settings.

    Raises:
        NASError: ``config.yaml`` in the run directory differs in a key, which is named.
    """
    path = root / "config.yaml"
    if not path.is_file():
        return
    before, now = _flat(yaml.safe_load(path.read_text())), _flat(config)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and key != "trainer.default_root_dir":
            raise NASError(
                f"{path} was begun with {key} {before.get(key)}, but now {key} is {now.get(key)}: choose another "
                "trainer.default_root_dir, or the same settings to continue"
            )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}.{key}".lstrip(".")).items()
    }


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration of ``fit``, ``retrain`` and ``learn`` in the run directory; other verbs leave it alone."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing: the run may still be refused, and must then not have lost its configuration."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes it where a run begins or continues."""
        if trainer.is_global_zero:
            keys = (
                RETRAIN_KEYS if "arch" in self.config else LEARN_KEYS if "strategy" in self.config else KEYS
            )
            # That of the trainer may be a folder below, where several networks are trained.
            save(shared_config(self.parser, self.config, keys), Path(self.config.trainer.default_root_dir))
