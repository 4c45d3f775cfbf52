"""Without the extras the package works, and whatever needs one says how to get it.

``make bare`` runs this where none is installed; anywhere else they are hidden.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lightning_nas.cli import main
from lightning_nas.data.beton import Beton, BetonFile
from lightning_nas.errors import NASError
from lightning_nas.export.safetensors import load_exported

CONFIGS = Path(__file__).parents[1] / "configs"
FIT = [
    "fit",
    "-c",
    str(CONFIGS / "spaces" / "pooling_small.yaml"),
    "-c",
    str(CONFIGS / "data" / "digits.yaml"),
]
PACKAGES = ("ffcv", "onnx", "onnxruntime", "onnxscript", "pymoo", "safetensors", "wandb", "wandb_workspaces")
IMPORT_ALL = f"""
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys({PACKAGES})
import lightning_nas
for module in pkgutil.walk_packages(lightning_nas.__path__, "lightning_nas."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        print(module.name)
"""


@pytest.fixture
def _no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*PACKAGES, *(name for name in sys.modules if name.partition(".")[0] in PACKAGES)}:
        monkeypatch.setitem(sys.modules, name, None)
    # Lightning looked for it when it was imported.
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)


def test_only_the_decoder_of_ffcv_cannot_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lightning_nas.data.beton_decoder"]


def export_as(to: str, suffix: str) -> Callable[[Path], object]:
    return lambda root: main(
        ["export", "--ckpt_path", "last.ckpt", "--to", to, "--out", str(root / f"network{suffix}")]
    )


def load_safetensors(root: Path) -> object:
    return load_exported(root / "network.safetensors")


def search_by_nsga2(root: Path) -> None:
    with pytest.warns(UserWarning, match="untrained weights"):
        main(["search", *FIT[1:], "--algorithm", "NSGA2", f"--trainer.default_root_dir={root / 'run'}"])


def log_to_wandb(root: Path) -> None:
    main([*FIT, "-c", str(CONFIGS / "logging" / "wandb.yaml"), f"--trainer.default_root_dir={root / 'run'}"])


def convert(root: Path) -> None:
    for split, name in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")):
        folder = root / "images" / split / name
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    main(
        ["convert", "--data", str(root / "images"), "--out", str(root / "converted"), "--val_fraction", "0.5"]
    )


def read_converted(root: Path) -> None:
    (root / "train.beton").write_bytes(b"beton")
    Beton.open(root, BetonFile("train.beton", 1, 5, "", []), 2)


@pytest.mark.usefixtures("_no_extras")
@pytest.mark.parametrize(
    ("use", "extra", "what"),
    [
        (export_as("onnx", ".onnx"), "export", "--to onnx needs the package onnx"),
        (
            export_as("safetensors", ".safetensors"),
            "export",
            "--to safetensors needs the package safetensors",
        ),
        (load_safetensors, "export", "safetensors needs the package safetensors"),
        (search_by_nsga2, "search", "algorithm NSGA2 needs pymoo"),
        (log_to_wandb, "wandb", "trainer.logger is WandbRun, but wandb is not installed"),
        (convert, "ffcv", "FFCV cannot be imported"),
        (read_converted, "ffcv", "FFCV cannot be imported"),
    ],
)
def test_what_needs_an_extra_says_how_to_get_it(
    tmp_path: Path,
    use: Callable[[Path], object],
    extra: str,
    what: str,
) -> None:
    with pytest.raises((SystemExit, NASError)) as refused:
        use(tmp_path)
    said = str(refused.value)
    assert what in said
    assert f"pip install 'lightning-nas[{extra}]'" in said
    assert "\n" not in said
