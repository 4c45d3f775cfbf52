"""Runs without a network, read back from the files that wandb would upload."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import offline_wandb
import PIL.Image
import pytest
import short_runs
import yaml
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from offline_wandb import Attempt
from PIL import ImageChops, ImageStat
from toy_space import Toy

from lightning_nas.callbacks import Ranking, SamplingStatistics, WandbRun
from lightning_nas.cli import main
from lightning_nas.errors import NASError
from lightning_nas.ranking import TableRow, write_table
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import Pooling

CONFIGS = Path(__file__).parents[2] / "configs"
SPACE = Pooling(blocks=(2, 2, 2), channels=(2, 2, 4), in_channels=1, image_size=8)
STEPS = 4  # of an epoch


@pytest.fixture(scope="module", autouse=True)
def without_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        for folder in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{folder}_DIR", str(tmp_path_factory.mktemp(folder)))
        yield


def command(verb: str, root: Path, *more: str) -> None:
    files = ("spaces/pooling_small", "data/digits", "logging/wandb")
    args = [word for file in files for word in ("-c", str(CONFIGS / f"{file}.yaml"))]
    args += ["--model.space.blocks", "[2, 2, 2]", "--model.space.channels", "[2, 2, 4]"]
    args += ["--data.train_size", "200", "--data.val_size", "100", "--data.batch_size", "50"]
    args += ["--data.eval_batch_size", "100", "--ranking.benchmark", str(root.parent / "truth.csv")]
    args += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    args += ["--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"]
    args += ["--trainer.check_val_every_n_epoch", "1", "--trainer.num_sanity_val_steps", "1"]
    args += [
        "--sampler",
        "UniformSampler",
        "--trainer.callbacks+",
        "lightning_nas.callbacks.SamplingStatistics",
    ]
    main([verb, *args, "--trainer.default_root_dir", str(root), *more])


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was trained, continued, validated and tested."""
    root = tmp_path_factory.mktemp("wandb") / "run"
    costs = [SPACE.cost(path) for path in SPACE]
    rows = [
        TableRow(SPACE.encode(path), 60.0 + number, 1.0, cost.params, cost.macs)
        for number, (path, cost) in enumerate(zip(SPACE, costs, strict=True))
    ]
    write_table(root.parent / "truth.csv", "digits", rows)
    command("fit", root, "--trainer.max_epochs", "2")
    command("fit", root, "--trainer.max_epochs", "3", "--ckpt_path", "last")
    command("validate", root, "--ckpt_path", "last")
    command("test", root, "--ckpt_path", "last")
    return root


@pytest.fixture(scope="module")
def seen(root: Path) -> list[Attempt]:
    return offline_wandb.attempts(root)


slow = pytest.mark.slow


@slow
def test_all_verbs_belong_to_one_run(seen: list[Attempt], root: Path) -> None:
    assert [attempt.id for attempt in seen] == [(root / "wandb_id.txt").read_text().strip()] * 4
    assert all(attempt.resumes for attempt in seen)
    assert {(attempt.name, attempt.project) for attempt in seen} == {("run", "lightning_nas")}
    assert [attempt.exit_code for attempt in seen] == [0] * 4


@slow
def test_a_continued_run_continues_its_curves(seen: list[Attempt], root: Path) -> None:
    begun, continued = seen[:2]
    steps = [
        step
        for attempt in (begun, continued)
        for step, _ in attempt.column("trainer/global_step", "train/loss")
    ]
    assert steps == list(range(3 * STEPS))
    epochs = [attempt.column("epoch", "trainer/global_step", "val/loss") for attempt in (begun, continued)]
    # Lightning counts from 0, and a validation belongs to the step before it.
    assert [row[:2] for row in epochs[0] + epochs[1]] == [(0, 3), (1, 7), (2, 11)]
    losses = [loss for attempt in (begun, continued) for (loss,) in attempt.column("train/loss")]
    assert losses == pytest.approx(short_runs.logged(root, "train/loss"))
    # wandb counts the rows; were they counted by us, it would refuse those that it believes to have.
    assert [row["_step"] for row in continued.rows] == list(range(len(continued.rows)))


@slow
def test_every_number_of_the_local_file_is_there(seen: list[Attempt], root: Path) -> None:
    for name in csv_rows(root / "metrics.csv")[0].keys() - {"step", "epoch"}:
        values = [value for attempt in seen[:2] for (value,) in attempt.column(name)]
        assert values == pytest.approx(short_runs.logged(root, name), nan_ok=True), name


@slow
def test_axes(seen: list[Attempt]) -> None:
    for attempt in seen:
        assert attempt.axes["*"] == "trainer/global_step"
        names = {name for row in attempt.rows for name in row}
        by_epoch = {name for name in names if name.startswith(("val/", "test/", "ranking/"))}
        assert by_epoch
        assert {attempt.axes[name] for name in by_epoch} == {"epoch"}
        assert not (attempt.axes.keys() & (names - by_epoch)) - {"trainer/global_step"}
        for row in attempt.rows:
            assert "trainer/global_step" in row
            assert "epoch" in row or not by_epoch & row.keys()


@slow
def test_validate_and_test_stand_where_the_training_ended(seen: list[Attempt]) -> None:
    for attempt, name in zip(seen[2:], ("val/loss", "test/loss"), strict=True):
        assert [row[:2] for row in attempt.column("trainer/global_step", "epoch", name)] == [(3 * STEPS, 2)]
    trained, validated = (attempt.column("ranking/kendall_tau")[-1] for attempt in seen[1:3])
    assert trained == validated
    assert not seen[1].column("ranking/density_bias")
    assert seen[2].column("ranking/density_bias")


@slow
def test_ranking_table(seen: list[Attempt], root: Path) -> None:
    best_first = sorted(csv_rows(root / "ranking.csv"), key=lambda row: -float(row["accuracy"]))
    table = seen[2].table("ranking/scores", -1)
    assert list(table[0]) == ["rank", "arch", "accuracy", "loss", "ground_truth", "params", "macs"]
    assert [row["arch"] for row in table] == [row["arch"] for row in best_first]
    assert [row["ground_truth"] for row in table] == [float(row["ground_truth"]) for row in best_first]
    assert [row["rank"] for row in table] == list(range(1, 16))
    # One table for every validation, each with the scores of its epoch.
    assert [len(attempt.column("ranking/scores")) for attempt in seen] == [2, 1, 1, 0]
    for number in range(2):
        rows = csv_rows(root / "scores" / f"epoch_{number + 1:04d}.csv")
        found = {row["arch"]: row["accuracy"] for row in seen[0].table("ranking/scores", number)}
        assert found == {row["arch"]: float(row["accuracy"]) for row in rows}
    assert len(seen[3].table("test/scores", 0)) == 15


@slow
def test_histograms(seen: list[Attempt], root: Path) -> None:
    def counted(attempt: Attempt, name: str) -> int:
        [*_, (histogram,)] = attempt.column(name)
        assert histogram["_type"] == "histogram"
        return sum(histogram["values"])

    assert counted(seen[2], "ranking/accuracies") == 15
    assert counted(seen[2], "density/mean_distances") == 15
    assert counted(seen[3], "test/accuracies") == 15
    assert [len(attempt.column("sampler/path_visits")) for attempt in seen] == [2, 1, 0, 0]
    assert counted(seen[1], "sampler/path_visits") == len(csv_rows(root / "path_visits.csv"))


@slow
def test_figures_are_those_of_the_run_directory(seen: list[Attempt], root: Path) -> None:
    [(step, shown)] = seen[1].column("trainer/global_step", "sampler/visits")
    assert step == 3 * STEPS
    [image] = shown["filenames"]
    with PIL.Image.open(seen[1].files / image) as logged, PIL.Image.open(root / "visits.png") as local:
        # Every drawing moves the parts a little.
        difference = ImageChops.difference(logged.convert("RGB"), local.convert("RGB"))
    assert max(ImageStat.Stat(difference).mean) < 1


@slow
def test_config(seen: list[Attempt], root: Path) -> None:
    saved = yaml.safe_load((root / "config.yaml").read_text())
    for attempt, epochs in zip(seen, (2, 3, 3, 3), strict=True):
        saved["trainer"]["max_epochs"] = epochs
        assert {key: attempt.config[key] for key in saved} == saved


@slow
def test_artifacts(seen: list[Attempt]) -> None:
    names = [
        {name.removesuffix(f"-{seen[0].id}"): files for name, files in attempt.artifacts.items()}
        for attempt in seen
    ]
    # wandb keeps every table as an artifact of its own, too.
    own = [{key: files for key, files in one.items() if not key.startswith("run-")} for one in names]
    config = {"config": ["config.yaml"]}
    assert own == [
        config | {"scores": ["epoch_0002.csv"]},
        config | {"scores": ["epoch_0003.csv"]},
        config | {"ranking": ["density.csv", "ranking.csv", "ranking.json"]},
        config | {"test_ranking": ["test_ranking.csv", "test_ranking.json"]},
    ]


@slow
def test_no_name_has_two_kinds_of_values(seen: list[Attempt]) -> None:
    kinds: dict[str, set[type]] = {}
    for attempt in seen:
        for row in attempt.rows:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(dict if isinstance(value, dict) else float)
    assert {name for name, found in kinds.items() if len(found) > 1} == set()


@slow
def test_a_refused_run_is_not_opened(root: Path) -> None:
    with pytest.raises(SystemExit, match="already holds a run"):
        command("fit", root, "--trainer.max_epochs", "4")
    assert len(offline_wandb.attempts(root)) == 4


def fitted(root: Path, logger: WandbRun, *callbacks: Any, **flags: Any) -> None:
    trainer = short_runs.trainer(root, UniformSampler(), *callbacks, logger=logger, max_epochs=1, **flags)
    trainer.fit(short_runs.supernet_module(Toy(layers=2)), datamodule=short_runs.digits())


@slow
def test_offline_holds_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    fitted(tmp_path, WandbRun(offline=True, name="first", tags=["toy"]), SamplingStatistics())
    [attempt] = offline_wandb.attempts(tmp_path)
    assert (attempt.name, attempt.project) == ("first", "mine")
    assert attempt.column("sampler/operations")
    assert (tmp_path / "metrics.csv").exists()


@slow
def test_what_is_logged_again_after_a_checkpoint_is_the_same(tmp_path: Path) -> None:
    for checkpoint in (None, tmp_path / "07.ckpt"):
        short_runs.fit(tmp_path, lambda: UniformSampler(seed=0), resume_from=checkpoint, logger=WandbRun())
    straight, continued = offline_wandb.attempts(tmp_path)
    assert straight.id == continued.id
    for name in ("train/loss", "val/loss"):
        losses = straight.column("trainer/global_step", name)
        assert continued.column("trainer/global_step", name) == [row for row in losses if row[0] >= 7]


@slow
def test_a_trainer_validates_where_it_stopped(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, UniformSampler(), Ranking(), logger=WandbRun(), max_epochs=2)
    module, data = short_runs.supernet_module(), short_runs.digits()
    trainer.fit(module, datamodule=data)
    trainer.validate(module, datamodule=data, verbose=False)
    _, validated = offline_wandb.attempts(tmp_path)
    assert validated.column("trainer/global_step", "epoch", "ranking/scores")[0][:2] == (2 * STEPS, 1)


@slow
def test_an_interrupted_run_is_closed_as_failed(tmp_path: Path) -> None:
    class Broken(SamplingStatistics):
        def on_train_epoch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fitted(tmp_path, WandbRun(), Broken())
    [attempt] = offline_wandb.attempts(tmp_path)
    assert attempt.exit_code == 1
    assert len(attempt.column("train/loss")) == STEPS


def test_without_a_login_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.errors import UsageError

    def init(**_: Any) -> None:
        raise UsageError("No API key configured.\nUse wandb login")

    monkeypatch.setattr("wandb.init", init)
    with pytest.raises(
        NASError, match=r"^W&B cannot begin the run \(No API key configured\.\): log in"
    ) as refused:
        fitted(tmp_path, WandbRun())
    assert "\n" not in str(refused.value)


def test_without_wandb_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(NASError, match=r"wandb is not installed: pip install 'lightning-nas\[wandb\]'"):
        WandbRun()


def test_another_trainer_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(logger=WandbRun(), default_root_dir=tmp_path, max_epochs=1, **short_runs.QUIET)  # type: ignore[arg-type]
    with pytest.raises(NASError, match="WandbRun needs a NASTrainer"):
        trainer.fit(BoringModel())


def test_a_trial_of_a_few_batches_opens_nothing(tmp_path: Path) -> None:
    fitted(tmp_path, WandbRun(), fast_dev_run=1)
    assert not list(tmp_path.iterdir())


@slow
def test_the_package_is_imported_without_wandb() -> None:
    code = "import sys; sys.modules['wandb'] = None; import lightning_nas.cli"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
