"""Every file in configs/retrain is understood as it stands, and trains for a step at a small size."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from space_checks import some_paths
from torch.nn.functional import pad

import lightning_nas.spaces
from lightning_nas.cli import main
from lightning_nas.data import DigitsDataModule, RawSplits
from lightning_nas.spaces import DARTS, MobileNetV2, NASBench201, SearchSpace

ROOT = Path(__file__).parents[1]
FILES = sorted(path.stem for path in (ROOT / "configs" / "retrain").glob("*.yaml"))
SPACES: dict[str, SearchSpace] = {
    "darts": DARTS(channels=36, cells=20),
    "mobilenet": MobileNetV2(),
    "nasbench201": NASBench201(),
}
SMALL = {
    "darts": {"class_path": "DARTS", "init_args": {"channels": 2, "cells": 3}},
    "mobilenet": {"class_path": "MobileNetV2"},
    "nasbench201": {"class_path": "NASBench201", "init_args": {"channels": 2, "cells": 1}},
}


class Photos(DigitsDataModule):
    """The digits on as many pixels as the strides of MobileNetV2 and the auxiliary head of DARTS need."""

    image_size = 32

    def read_splits(self) -> RawSplits:
        return RawSplits(*((pad(images, (12,) * 4), labels) for images, labels in super().read_splits()))


def text_of(name: str) -> str:
    return (ROOT / "configs" / "retrain" / f"{name}.yaml").read_text()


def test_there_is_one_for_every_space_that_the_papers_retrain_in() -> None:
    assert set(FILES) == set(SPACES)


@pytest.mark.parametrize("name", FILES)
def test_it_is_understood_beside_the_data_that_it_names(name: str) -> None:
    [data] = re.findall(r"Beside configs/data/(\w+)\.yaml", text_of(name))
    arch = SPACES[name].encode(some_paths(SPACES[name], 1)[0])
    files = ["-c", str(ROOT / f"configs/data/{data}.yaml"), "-c", str(ROOT / f"configs/retrain/{name}.yaml")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main(["retrain", *files, "--arch", arch, "--print_config"])
    assert end.value.code in (0, None)
    config = yaml.safe_load(printed.getvalue())
    space = config["model"]["space"]
    published = getattr(lightning_nas.spaces, space["class_path"].rpartition(".")[2])
    assert published(**space["init_args"]) == SPACES[name]
    [needs] = re.findall(r"^# Needs: (8 GPUs|one GPU)", text_of(name), flags=re.MULTILINE)
    assert config["trainer"]["devices"] == (8 if needs == "8 GPUs" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_it_trains_a_step(name: str, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump(
            {
                "model": {"space": SMALL[name]},
                "data": {"class_path": "test_retrain_configs.Photos", "init_args": {"train_size": 96}},
                "trainer": {"accelerator": "cpu", "devices": 1, "strategy": "auto", "max_epochs": 1}
                | {f"limit_{split}_batches": 1 for split in ("train", "val", "test")}
                | dict.fromkeys(("enable_progress_bar", "enable_model_summary"), False),
            }
        )
    )
    config = yaml.safe_load(text_of(name))
    del config["data"]["val_fraction"]
    config["data"]["batch_size"] = 48
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(config))
    run = ["--arch", "random", "--trainer.default_root_dir", str(tmp_path / "run")]
    digits = ["--data", "test_retrain_configs.Photos"]
    main(
        ["retrain", *digits, "-c", str(tmp_path / "published.yaml"), "-c", str(tmp_path / "small.yaml"), *run]
    )
    result = json.loads((tmp_path / "run" / "retrain.json").read_text())
    assert result["settings"]["tricks"] == dict.fromkeys(
        ("mixup", "cutmix", "drop_path", "auxiliary", "ema"), 0.0
    ) | config.get("tricks", {})
