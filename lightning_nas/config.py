"""The configuration that a run keeps: what was asked for, without what belongs to one call of one verb."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

CONFIG = ("-c", "--config")

KEYS = ("seed_everything", "trainer", "model", "data", "sampler", "data_sampler", "ranking")

OWN_KEYS = {
    "retrain": ("arch", "number", "inherit", "tricks"),
    "learn": ("strategy", "alphas"),
    "fit_fewshot": ("tree", "inherit", "halving"),
}
"""What verbs keep of their own beside ``KEYS``."""

SAVED_BY = re.compile(r"# Saved by lightning-nas (\w+):")


def shared_config(parser: LightningArgumentParser, config: Namespace, verb: str) -> dict[str, Any]:
    """The settings of a run, in plain types: those that every verb understands, and those of a verb that continues it."""
    dumped = yaml.safe_load(parser.dump(config, skip_none=False, skip_validation=True))
    return {key: dumped[key] for key in (*KEYS, *OWN_KEYS.get(verb, ()))}


def save(config: dict[str, Any], root: Path, verb: str = "fit") -> None:
    """Writes ``config.yaml``, which says by whom it was saved where that verb has keys of its own."""
    own = ", ".join(OWN_KEYS.get(verb, ()))
    head = f"# Saved by lightning-nas {verb}: other verbs leave out its own keys {own}\n" if own else ""
    with written_whole(root / "config.yaml") as temporary:
        temporary.write_text(head + yaml.safe_dump(config, sort_keys=False))


def without_keys_of_others(verb: str, args: Sequence[str]) -> list[str]:
    """The arguments of a verb, where configs that another verb saved lack the keys of that one alone.

    Args:
        verb: With underscores.
        args: What follows it.

    Raises:
        NASError: A config is no YAML.
    """
    divided = [arg.split("=", 1) if arg.startswith("--config=") else [arg] for arg in args]
    flat = [part for parts in divided for part in parts]
    return [
        _understood(verb, Path(arg)) if option in CONFIG and _is_file(arg) else arg
        for option, arg in itertools.pairwise(["", *flat])
    ]


def _is_file(arg: str) -> bool:
    return "\n" not in arg and Path(arg).is_file()


def _understood(verb: str, file: Path) -> str:
    """The file, or what is left of it as YAML."""
    text = read(file)
    saved = SAVED_BY.match(text)
    if saved is None or saved[1] == verb:
        return str(file)
    # The tree of the leaves is the one thing that the verbs of few-shot search have in common.
    others = set(OWN_KEYS.get(saved[1], ())) - ({"tree"} if verb == "validate_fewshot" else set())
    left = {key: value for key, value in yaml.safe_load(text).items() if key not in others}
    return str(yaml.safe_dump(left, sort_keys=False))


def read(file: Path) -> str:
    """The text of a config.

    Raises:
        NASError: It is no YAML; the line is named.
    """
    try:
        text = file.read_text()
        yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" line {error.problem_mark.line + 1}"
        raise NASError(f"-c is {str(file)!r}, which is no YAML:{line} {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NASError(f"-c is {str(file)!r}, which is no YAML: {' '.join(str(error).split())}") from error
    return text


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
            verb = "retrain" if "arch" in self.config else "learn" if "strategy" in self.config else "fit"
            # That of the trainer may be a folder below, where several networks are trained.
            root = Path(self.config.trainer.default_root_dir)
            save(shared_config(self.parser, self.config, verb), root, verb)
