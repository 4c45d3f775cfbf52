"""The commands of the README are understood as they are printed."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import exports
import photographs
import pytest
import yaml
from space_checks import CONFIGS, small_space, some_paths

from lightning_nas import config
from lightning_nas.cli import main
from lightning_nas.commands import COMMANDS
from lightning_nas.spaces import Pooling, SearchSpace

ROOT = Path(__file__).parents[1]
POOLING = Pooling()


def commands(page: Path) -> list[list[str]]:
    """The arguments of every ``lightning-nas`` command in a page, in a container or not."""
    command = r"^(?:lightning-nas|docker compose --file docker/compose\.yaml run --rm gpus?) (.*)$"
    return [shlex.split(line) for line in re.findall(command, page.read_text(), flags=re.MULTILINE)]


def configuration(args: list[str]) -> str:
    """What the arguments add up to; fails on an unknown key or a wrong value."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*args, "--print_config"])
    assert end.value.code in (0, None), args
    return printed.getvalue()


def pretend_validated(run: Path, space: SearchSpace = POOLING) -> None:
    """The files that a training and a validation of some paths leave, with made-up scores."""
    (run / "scores").mkdir(parents=True)
    plain = [f"scores/{name}.csv" for name in ("epoch_0010", "epoch_0020", "batches_0001", "batches_0002")]
    for file, columns in (("ranking.csv", ",ground_truth,params,macs"), *((file, "") for file in plain)):
        with (run / file).open("w") as table:
            table.write(f"arch,accuracy,loss{columns}\n")
            for number, path in enumerate(some_paths(space, 40)):
                costs = f",,{space.cost(path).params},{space.cost(path).macs}" if columns else ""
                table.write(f"{space.encode(path)},{50 + number % 7},{2 - number / 40}{costs}\n")


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a folder look like the repository."""
    monkeypatch.chdir(folder)
    for name in ("configs", "groundtruth"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("lightning_nas.latency.timing.SECONDS", 1e-4)


def understand(found: list[list[str]], folder: Path) -> None:
    """Reads all commands in their order; fails on one that is wrong."""
    for args in found:
        if args[0] in COMMANDS:
            main(args)
            continue
        text = configuration(args)
        if "--trainer.default_root_dir" in args:
            # Later commands begin with the configuration that this run keeps.
            run = folder / args[args.index("--trainer.default_root_dir") + 1]
            run.mkdir(parents=True, exist_ok=True)
            kept = {key: value for key, value in yaml.safe_load(text).items() if key in config.KEYS}
            (run / "config.yaml").write_text(yaml.safe_dump(kept))


def test_commands_of_the_readme_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)
    found = commands(ROOT / "README.md")
    photographs.write(tmp_path / "datasets" / "imagenet", suffix=".jpg")
    pretend_validated(tmp_path / "runs" / "density")
    # Of untrained weights, which are shipped as trained ones are.
    exports.write_supernet(tmp_path / "runs/density/last.ckpt", small_space(CONFIGS / "pooling_small.yaml"))
    understand(found, tmp_path)
    assert {args[0] for args in found} >= {
        "describe",
        "estimate",
        "export",
        "fetch-benchmark",
        "fit",
        "validate",
        "predict",
        "groundtruth",
        "retrain",
        "latency",
        "learn",
        "search",
        "split",
        "fit-fewshot",
        "validate-fewshot",
        "submit",
    }


def test_commands_of_the_page_on_wandb_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    found = commands(ROOT / "docs" / "wandb.md")
    assert [args[0] for args in found] == ["fit", "fit", "validate"]
    understand(found, tmp_path)
    run = ["fit", "-c", "runs/logged/config.yaml", "--trainer.logger.offline", "true"]
    logger = yaml.safe_load(configuration(run))["trainer"]["logger"]
    assert logger["class_path"].endswith("WandbRun")
    assert logger["init_args"]["offline"]


def test_commands_of_the_page_on_search_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    found = commands(ROOT / "docs" / "search.md")
    assert [args[0] for args in found] == ["fit", "search", "latency", "search", "search"]
    understand(found, tmp_path)


def test_commands_of_the_page_on_analysis_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    space = small_space(CONFIGS / "nasbench201_small.yaml")
    pretend_validated(tmp_path / "runs" / "asked", space)
    exports.write_supernet(tmp_path / "runs/asked/last.ckpt", space)
    found = commands(ROOT / "docs" / "analysis.md")
    assert [args[0] for args in found] == ["fit", "validate", "rank", "prune", "fit", "prune", "fit", "fit"]
    understand(found, tmp_path)
    figures = {file.name for file in (tmp_path / "runs/asked/rank").glob("*.png")}
    assert figures >= {"tau_over_batches.png", "stability_over_epochs.png"}


@pytest.mark.slow
def test_commands_of_the_page_on_estimates_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    space = small_space(CONFIGS / "nasbench201_small.yaml")
    pretend_validated(tmp_path / "runs" / "supernet", space)
    exports.write_supernet(tmp_path / "runs/supernet/last.ckpt", space)
    found = commands(ROOT / "docs" / "zero-shot.md")
    assert [args[0] for args in found] == ["estimate", "fit", "validate", "estimate", "estimate"]
    understand(found, tmp_path)


@pytest.mark.parametrize(
    ("page", "verbs"),
    [
        ("recipes", ["fit", "fit", *(["fit", "search", "retrain"] * 2)]),
        ("compile", ["fit"]),
        ("differentiable", ["learn", "retrain", "learn", "learn", "learn"]),
        ("few-shot", ["split", "fit-fewshot", "validate-fewshot"]),
    ],
)
def test_commands_of_other_pages_are_understood(
    page: str, verbs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(ROOT / "examples")
    found = commands(ROOT / "docs" / f"{page}.md")
    assert [args[0] for args in found] == verbs
    understand(found, tmp_path)


def test_commands_of_the_page_on_several_processes_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    found = commands(ROOT / "docs" / "distributed.md")
    assert [args[0] for args in found] == ["fit"]
    understand(found, tmp_path)
    strategy = "--trainer.strategy lightning_nas.launch.PathDDPStrategy --trainer.strategy.timeout 0:05:00"
    assert strategy in (ROOT / "docs" / "distributed.md").read_text()
    understood = yaml.safe_load(configuration([*found[0], *strategy.split()]))["trainer"]["strategy"]
    assert understood["init_args"]["timeout"] == "0:05:00"


@pytest.mark.slow
def test_a_folder_of_jpegs_becomes_a_training_with_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    photographs.write(tmp_path / "datasets" / "imagenet", train=100, suffix=".jpg")
    found = commands(ROOT / "README.md")
    [first] = [number for number, args in enumerate(found) if args[0] == "convert"]
    convert, fit = found[first : first + 2]
    main(convert)
    # As printed, but for what makes it short.
    main(
        [
            *fit,
            *[
                "--data.batch_size",
                "4",
                "--data.eval_batch_size",
                "4",
                "--data.image_size",
                "32",
                "--trainer.max_steps",
                "2",
            ],
        ]
    )
    run = tmp_path / "runs" / "imagenet"
    assert (run / "last.ckpt").exists()
    assert "FFCVDataModule" in (run / "config.yaml").read_text()
