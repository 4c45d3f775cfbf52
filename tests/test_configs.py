"""Every file in configs/ is parsed and run for a step; recipes are in test_recipes.py and test_retrain_configs.py."""

from pathlib import Path

import photographs
import pytest
import yaml
from PIL import Image
from published_data import write_imagenet16, write_python_version

import lightning_nas.spaces
from lightning_nas.cli import main

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
# Those of configs/compare, configs/dissect and configs/fewshot are plans of examples, those of configs/search and
# configs/slurm options of verbs: they are tested with what reads them.
FILES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob("*.yaml")
    if path.parent.name not in ("compare", "dissect", "fewshot", "recipes", "retrain", "search", "slurm")
)
FAST = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
FAST += ["--trainer.enable_model_summary", "false"]


def images(root: Path, size: int) -> Path:
    """A folder of plain images as ``image_folder`` expects it."""
    for split, number in (("train", 120), ("test", 5)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                Image.new("RGB", (size, size), (i, i, i)).save(folder / f"{i}.png")
    return root


def data_set(file: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes small files in the form that a config of a data set reads, and names them; or nothing."""
    if file == "data/imagenet.yaml":
        photographs.write(root, train=100)
    elif file.startswith("data/ffcv"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "cache"))
        root = photographs.converted(root)
    elif file == "data/imagenet16.yaml":
        write_imagenet16(root, monkeypatch)
    elif file in ("data/cifar10.yaml", "data/cifar100.yaml"):
        write_python_version(root, int(file.removesuffix(".yaml").removeprefix("data/cifar")), monkeypatch)
    else:
        return []
    sizes = ["--data.batch_size", "4", "--data.eval_batch_size", "4", "--ranking.paths", "1"]
    return ["--data.root", str(root), *sizes]


def arguments(file: str, tmp_path: Path) -> list[str]:
    """The file, with what it needs beside it: a space of published size gets images of that size."""
    kind = file.split("/")[0]
    published = kind == "spaces" and not file.endswith("_small.yaml")
    data = "data/image_folder.yaml" if published else "data/digits.yaml"
    # The paths of Pooling have the same complexity, one decision, choices without weights of their own, and no mixtures.
    operations = kind in ("optim", "diagnostics", "differentiable")
    space = "spaces/nasbench201_small.yaml" if operations else "spaces/pooling_small.yaml"
    parts = {"spaces": space, "data": data}
    composed = [file if kind == part else default for part, default in parts.items()]
    if kind not in parts:
        composed.append(file)
    more = [word for name in composed for word in ("-c", str(CONFIGS / name))]
    if "data/image_folder.yaml" in (file, data):
        folder = images(tmp_path / "images", image_size(file) if published else 8)
        more += [
            "--data.root",
            str(folder),
            "--data.cache_dir",
            str(tmp_path / "cache"),
            "--data.batch_size",
            "4",
            "--data.eval_batch_size",
            "4",
            "--ranking.paths",
            "1",
        ]
    return more


def image_size(file: str) -> int:
    """The published image size of a space."""
    description = yaml.safe_load((CONFIGS / file).read_text())["model"]["space"]
    space = getattr(lightning_nas.spaces, description["class_path"])(**description.get("init_args", {}))
    return int(space.image_size)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_config_runs(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs name files of the repository
    common = [*arguments(file, tmp_path), *FAST, "--trainer.default_root_dir", str(tmp_path / "run")]
    if not file.startswith("logging/"):
        common += ["--trainer.logger", "false"]
    common += data_set(file, tmp_path / "published", monkeypatch)
    if file.startswith("groundtruth/"):
        flags = [
            "--trainer.max_epochs",
            "1",
            "--trainer.limit_train_batches",
            "1",
            "--trainer.limit_test_batches",
            "1",
        ]
        main(["groundtruth", *common, *flags, "--seeds", "1", "--workers", "1"])
        assert (tmp_path / "run" / "groundtruth.csv").exists()
    elif file.startswith("differentiable/"):
        strategy = (
            [] if "strategy" in yaml.safe_load((CONFIGS / file).read_text()) else ["--strategy", "SNAS"]
        )
        narrow = ["--model.space.channels", "4", "--model.space.cells", "1"]
        main(["learn", *common, *narrow, *strategy, "--trainer.fast_dev_run", "1"])
    else:
        main(["fit", *common, "--trainer.fast_dev_run", "1"])


def test_diagnoses_are_added_to_the_callbacks_of_other_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments("diagnostics/all.yaml", tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "-c", str(CONFIGS / "optim/calr.yaml"), *given, "--print_config"])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    names = [callback["class_path"].split(".")[-1] for callback in callbacks]
    assert names[:2] == ["CaLR", "SamplingStatistics"]
    assert names[-2:] == ["Forgetting", "Trainability"]


def test_there_are_configs_of_every_kind() -> None:
    kinds = {file.split("/")[0] for file in FILES}
    assert {
        "spaces",
        "data",
        "samplers",
        "optim",
        "diagnostics",
        "logging",
        "groundtruth",
        "differentiable",
        "demo.yaml",
    } <= kinds
