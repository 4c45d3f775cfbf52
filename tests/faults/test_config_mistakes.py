"""Mistakes in configurations, through the command line: it ends before anything is trained, and says what would be valid.

The words are mistyped by a seeded generator, so that no list of known mistakes is tested.
"""

import random
import string
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.forked import command, end_of

ROOT = Path(__file__).parents[2]
DATA = ["-c", str(ROOT / "configs/data/digits.yaml")]
CONFIGS = ["-c", str(ROOT / "configs/spaces/pooling_small.yaml"), *DATA]
VERBS = ("fit", "validate", "learn", "search", "describe", "export", "retrain")


def misspelt(word: str, seed: int) -> str:
    """A word of at least four letters with one of them doubled, left out, changed, or swapped with its neighbour."""
    rng = random.Random(seed)
    at = rng.randrange(1, len(word) - 1)
    other = rng.choice(sorted(set(string.ascii_lowercase) - set(word)))
    kinds: list[Callable[[], str]] = [
        lambda: word[:at] + word[at] + word[at:],
        lambda: word[:at] + word[at + 1 :],
        lambda: word[:at] + other + word[at + 1 :],
        lambda: word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    ]
    made = [kind() for kind in kinds]
    return rng.choice([one for one in made if one != word])


def key(*parts: str, value: str = "1", of: str = "fit", more: tuple[str, ...] = ()) -> Any:
    """A key whose last part that is written in capitals is misspelt, and the word that should be named."""

    def make(seed: int, _: Path) -> tuple[list[str], str, str]:
        wrong = [misspelt(part.lower(), seed) if part.isupper() else part for part in parts]
        right = next(part.lower() for part in parts if part.isupper())
        name = ".".join(wrong)
        return [of, *CONFIGS, *more, f"--{name}", value], name, right

    return make


def written(right: str, **tree: Any) -> Any:
    """A config with a misspelt key: the one of that name."""

    def make(seed: int, folder: Path) -> tuple[list[str], str, str]:
        wrong = misspelt(right, seed)
        (folder / "config.yaml").write_text(yaml.safe_dump(tree).replace(f"{right}:", f"{wrong}:"))
        return ["fit", *CONFIGS, "-c", str(folder / "config.yaml")], wrong, right

    return make


def flag(name: str, value: str, said: str, *more: str, of: str = "fit") -> Any:
    """A value that does not fit, and what is to be said of it."""

    def make(_: int, folder: Path) -> tuple[list[str], str, str]:
        configs = [] if of in ("describe", "export") else CONFIGS
        return [of, *configs, *more, f"--{name}", value.format(folder=folder)], name.split(".")[-1], said

    return make


def verb(right: str) -> Any:
    """A misspelt verb."""

    def make(seed: int, _: Path) -> tuple[list[str], str, str]:
        wrong = misspelt(right, seed)
        return [wrong, *CONFIGS], wrong, right

    return make


def named_class(name: str, base: str, prefix: str = "") -> Any:
    """A misspelt class."""

    def make(seed: int, _: Path) -> tuple[list[str], str, str]:
        wrong = misspelt(base, seed)
        return ["fit", *CONFIGS, f"--{name}", prefix + wrong], wrong, base

    return make


def table(_: int, folder: Path) -> tuple[list[str], str, str]:
    file = folder / "table.csv"
    file.write_text("arch,digits\n1-1-8,50\n")
    return ["fit", *CONFIGS, "--ranking.benchmark", str(file)], "table.csv", "lacks 35 architectures"


def broken_yaml(_: int, folder: Path) -> tuple[list[str], str, str]:
    (folder / "config.yaml").write_text("model: [1, 2\n")
    return ["fit", *CONFIGS, "-c", str(folder / "config.yaml")], "config.yaml'", "is no YAML: line 2 "


CALR = {"class_path": "lightning_nas.optim.calr.CaLR", "init_args": {"gamma_max": 4.0}}
DENSITY = ("--sampler", "DensitySampler")
MISTAKES: dict[str, Any] = {
    "key of the first level": key("TRAINER", "max_epochs"),
    "key of the second level": key("trainer", "MAX_EPOCHS"),
    "key of the third level": key("model", "space", "CHANNELS"),
    "key of a sampler": key("sampler", "TARGET_ESS", more=DENSITY),
    "key of an optimizer": key("model", "optimizer", "MOMENTUM"),
    "key of another verb": key("ALGORITHM", of="search", value="Evolution"),
    "key of a verb without a trainer": lambda seed, _: (
        ["describe", f"--{(wrong := misspelt('space', seed))}", "Pooling"],
        wrong,
        "space",
    ),
    "key in a file": written("schedule", model={"schedule": "cosine"}),
    "key of a callback in a file": written("gamma_max", trainer={"callbacks": [CALR]}),
    "class": named_class("sampler", "DensitySampler"),
    "class path": named_class("sampler", "FairSampler", "lightning_nas.samplers."),
    "verb": verb("validate"),
    "verb in two words": verb("fit_fewshot"),
    "type": flag("trainer.max_epochs", "many", "valid is int"),
    "type in a class": flag("data.batch_size", "2.5", "data.batch_size is 2.5: valid is int"),
    "none of the valid words": flag("model.grad_reduce", "averaged", "'mean', 'sum', 'active_mean'"),
    "out of range": flag("data.batch_size", "0", "valid are numbers from 1"),
    "out of range of the trainer": flag("trainer.limit_val_batches", "1.5", "has to be in [0.0, 1.0]"),
    "unknown accelerator": flag("trainer.accelerator", "cpuu", "Available names are"),
    "abbreviation": flag("trainer.max_ep", "3", "did you mean 'trainer.max_epochs'?"),
    "missing file": flag("config", "{folder}/nowhere.yaml", "there is no such file"),
    "no yaml": broken_yaml,
    "architecture": flag("arch", "9-9-9", "not in the space: valid are", "--space", "Pooling", of="describe"),
    "missing checkpoint": flag("ckpt_path", "{folder}/nowhere.ckpt", "there is no such file"),
    "table that does not fit": table,
    "unknown folder of images": flag(
        "data.root", "{folder}/nowhere", "must be a folder with", "--data", "ImageFolderDataModule"
    ),
    "value without a key": lambda *_: (
        ["fit", *CONFIGS, "stray"],
        "stray",
        "a value follows its key",
    ),
    "missing key": lambda *_: (["fit", *CONFIGS[:2]], "--data", "must be given"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_sentence(
    tmp_path: Path, mistake: str, record_property: Callable[[str, object], None]
) -> None:
    args, wrong, right = MISTAKES[mistake](list(MISTAKES).index(mistake), tmp_path)
    trained = tmp_path / "run"
    if args[0] != "describe" and "trainer" not in args[0]:
        args = [*args[:1], "--trainer.default_root_dir", str(trained), *args[1:]]
    end = end_of(command, args, log=tmp_path / "said")
    record_property("seconds", end.seconds)
    # The machine may have SLURM, whose absence in the command is told.
    lines = [line for line in end.said.splitlines() if "srun" not in line]
    assert end.code == 2, end.said
    assert len(lines) <= 6, end.said
    assert wrong in lines[-1]
    assert right in lines[-1]
    assert lines[-1].startswith("lightning-nas: ")
    assert not trained.exists()


@pytest.mark.slow
def test_a_process_ends_so_too(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The seconds are those beyond what ``import lightning`` takes."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import lightning"], check=True)
    imported = time.monotonic()
    args = ["fit", *CONFIGS, "--trainer.max_epoch", "3", "--trainer.default_root_dir", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_nas", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    record_property("seconds", time.monotonic() - imported - (imported - began))
    assert done.returncode == 2
    said = "there is no key trainer.max_epoch; did you mean 'trainer.max_epochs'?"
    assert done.stderr.splitlines() == [f"lightning-nas: {said}"]
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()
