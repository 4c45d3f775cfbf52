"""Every recipe is understood as it stands, and trains for a step on a small space and few images."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import photographs
import pytest
import yaml
from PIL import Image

from lightning_nas.cli import main
from lightning_nas.commands import convert

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "recipes").glob("*.yaml"))
SPACES = {path.stem.removesuffix("_small") for path in (CONFIGS / "spaces").glob("*.yaml")}


def text_of(recipe: str) -> str:
    return (CONFIGS / "recipes" / f"{recipe}.yaml").read_text()


def space_of(recipe: str) -> str:
    return max((space for space in SPACES if recipe.startswith(f"{space}_")), key=len)


def data_of(recipe: str) -> str:
    """The config of data beside which the recipe says it belongs."""
    [name, *_] = re.findall(r"Beside configs/data/(\w+)\.yaml", re.sub(r"\n#\s+", " ", text_of(recipe)))
    return str(name)


def configs(recipe: str, data: str) -> list[str]:
    return ["-c", str(CONFIGS / "data" / f"{data}.yaml"), "-c", str(CONFIGS / "recipes" / f"{recipe}.yaml")]


@pytest.fixture(scope="module")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few images in the forms that configs of data read."""
    root = tmp_path_factory.mktemp("data")
    for split, number in (("train", 80), ("test", 4)):
        for name in ("cat", "dog"):
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (8, 8), (i, i, 255 - i)).save(folder / f"{i}.png")
    ffcv = root / "ffcv"
    convert(data=photographs.write(root / "photographs", train=40), out=ffcv, mode="raw", val_fraction=0.6)
    return {"image_folder": root / "images", "ffcv_imagenet": ffcv}


def small_size(recipe: str) -> dict[str, Any]:
    """What makes a recipe small; all else stays as published."""
    imagenet = "imagenet" in data_of(recipe)
    config = yaml.safe_load(text_of(recipe))
    space, sampler = config["model"]["space"], config["sampler"]
    if "window" in sampler.get("init_args", {}):
        sampler["init_args"]["window"] = [1, 10**12]  # of multiply-adds, for a space that has fewer
    small = yaml.safe_load((CONFIGS / "spaces" / f"{space_of(recipe)}_small.yaml").read_text())["model"][
        "space"
    ]
    return {
        # A restriction of a space is small already.
        "model": {"space": small if small["class_path"] == space["class_path"] else space},
        "data": {
            "image_size": 16 if imagenet else 8,
            "val_fraction": 0.6,
            "batch_size": 4,
            "eval_batch_size": 4,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "strategy": "auto", "logger": False}
        | dict.fromkeys(("enable_progress_bar", "enable_model_summary"), False),
        "ranking": {"paths": 1},
        "sampler": sampler,
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains(
    recipe: str, small_data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    data = "ffcv_imagenet" if "imagenet" in data_of(recipe) else "image_folder"
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_size(recipe)))
    given = [*configs(recipe, data), "-c", str(tmp_path / "small.yaml"), "--data.root", str(small_data[data])]
    run = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.fast_dev_run", "1"]
    main(["fit", *given, *run])


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_understood_as_it_stands(recipe: str) -> None:
    """Beside the data that it names, and for as many GPUs as it says it needs."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main(["fit", *configs(recipe, data_of(recipe)), "--print_config"])
    assert end.value.code in (0, None)
    config = yaml.safe_load(printed.getvalue())
    trainer = config["trainer"]
    [needs] = re.findall(r"^# Needs: (8 GPUs|one GPU|two CPU cores)", text_of(recipe), flags=re.MULTILINE)
    used = {"8 GPUs": ("gpu", 8), "one GPU": ("auto", 1), "two CPU cores": ("cpu", "auto")}[needs]
    assert (trainer["accelerator"], trainer["devices"]) == used
    assert trainer["strategy"] == ("ddp_find_unused_parameters_true" if needs == "8 GPUs" else "auto")
    assert config["sampler"]["class_path"].startswith("lightning_nas.samplers.")
    assert trainer["max_steps"] > 0 or trainer["max_epochs"] > 0
    validated = trainer["check_val_every_n_epoch"]
    assert trainer["max_epochs"] is None or trainer["max_epochs"] % validated == 0  # the end is scored


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_begins_with_its_source(recipe: str) -> None:
    lines = text_of(recipe).splitlines()
    comment = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert [line.split(":")[0] for line in comment if not line.startswith("#   ")] == [
        "# Source",
        "# Differs",
        "# Needs",
    ]
    assert "#" not in "".join(line[0] for line in lines[len(comment) :])


def test_the_table_of_recipes_is_complete() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    listed = re.findall(r"^\| \[`(\w+)`\]\(\.\./configs/recipes/\1\.yaml\) \|", page, flags=re.MULTILINE)
    assert sorted(listed) == RECIPES
