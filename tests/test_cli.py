"""The command line, called as users call it."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
import yaml

from lightning_nas.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
SPACE = ["-c", str(CONFIGS / "spaces/pooling_small.yaml"), "-c", str(CONFIGS / "data/digits.yaml")]
TINY = ["--model.space.channels", "[2, 2, 4]", "--data.train_size", "100", "--data.val_size", "100"]
TINY += ["--data.eval_batch_size", "100"]
TINY += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
EPOCH = ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"]


def run(verb: str, root: Path, *more: str) -> None:
    main([verb, *SPACE, *TINY, *EPOCH, "--trainer.default_root_dir", str(root), *more])


def refusal(verb: str, root: Path, *more: str) -> str:
    """The one sentence on which the command ends."""
    with pytest.raises(SystemExit) as stopped:
        run(verb, root, *more)
    assert stopped.value.code == 2
    assert str(stopped.value).startswith("lightning-nas: ")
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    run("fit", root, "--sampler", "UniformSampler", "--sampler.paths", "2")
    return root


def test_a_run_directory_holds_config_metrics_and_checkpoint(finished: Path) -> None:
    assert {"config.yaml", "metrics.csv", "last.ckpt"} <= {path.name for path in finished.iterdir()}
    saved = yaml.safe_load((finished / "config.yaml").read_text())
    keys = ["seed_everything", "trainer", "model", "data", "sampler", "data_sampler", "ranking"]
    assert list(saved) == keys
    assert saved["sampler"]["init_args"]["paths"] == 2


def test_facts_of_the_data_reach_the_space(finished: Path) -> None:
    description = torch.load(finished / "last.ckpt", weights_only=True)["lightning_nas"]["space"]
    assert (description["init_args"]["in_channels"], description["init_args"]["image_size"]) == (1, 8)


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_every_verb_accepts_the_config_of_fit(finished: Path, verb: str) -> None:
    more = ["--model.predict_path", "4-3-3"] if verb == "predict" else []
    main([verb, "-c", str(finished / "config.yaml"), "--ckpt_path", "last", *more])
    written = {"validate": "ranking.csv", "test": "test_ranking.csv", "predict": "predictions.csv"}[verb]
    with (finished / written).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == (1597 if verb == "predict" else 36)


def test_validate_leaves_the_config_of_fit_alone(finished: Path) -> None:
    before = (finished / "config.yaml").read_text()
    main(["validate", "-c", str(finished / "config.yaml"), "--ckpt_path", "last", "--ranking.paths", "3"])
    assert (finished / "config.yaml").read_text() == before


def test_validate_reports_against_a_table(finished: Path, tmp_path: Path) -> None:
    lines = [f'"{a}-{b}-{10 - a - b}",{50 + a * b}' for a in range(1, 9) for b in range(1, 10 - a)]
    (tmp_path / "table.csv").write_text("arch,digits\n" + "\n".join(lines) + "\n")
    more = ["--ranking.benchmark", str(tmp_path / "table.csv"), "--ranking.dataset", "digits"]
    main(["validate", "-c", str(finished / "config.yaml"), "--ckpt_path", "last", *more])
    report = json.loads((finished / "ranking.json").read_text())
    assert report["n"] == 36
    assert -1 <= report["kendall_tau"] <= 1
    assert -1 <= report["density_bias"] <= 1


def test_fit_without_a_sampler_is_uniform(tmp_path: Path) -> None:
    run("fit", tmp_path)
    [state] = [
        state
        for key, state in torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"].items()
        if "UniformSampler" in key
    ]
    assert state["visits"].sum() == 2


def test_a_sampler_among_the_callbacks_is_the_sampler(tmp_path: Path) -> None:
    run("fit", tmp_path, "--trainer.callbacks+", "UniformSampler", "--trainer.callbacks.paths", "3")
    states = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    [visits] = [state["visits"] for key, state in states.items() if "UniformSampler" in key]
    assert visits.sum() == 6


def test_paths_and_images_may_both_be_sampled(tmp_path: Path) -> None:
    more = ["-c", str(CONFIGS / "samplers/pada.yaml"), "--trainer.max_epochs", "2"]
    run("fit", tmp_path, *more, "--data_sampler.tau", "0.5")
    states = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    [options] = [state["options"] for key, state in states.items() if "DataImportanceSampler" in key]
    assert options["tau"] == 0.5
    assert any("PathImportanceSampler" in key for key in states)


def test_last_resumes(tmp_path: Path) -> None:
    run("fit", tmp_path / "straight", "--trainer.max_epochs", "2")
    run(
        "fit",
        tmp_path / "resumed",
        "--trainer.max_epochs",
        "2",
        "--trainer.limit_train_batches",
        "2",
        "--model.schedule",
        "constant",
    )
    run("fit", tmp_path / "once", "--model.schedule", "constant")
    run(
        "fit",
        tmp_path / "once",
        "--model.schedule",
        "constant",
        "--trainer.max_epochs",
        "2",
        "--ckpt_path",
        "last",
    )
    a, b = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("resumed", "once")
    )
    short_runs.assert_same(a, b)


def test_seeds_decide(tmp_path: Path) -> None:
    for name, seed in {"a": "1", "b": "1", "c": "2"}.items():
        run("fit", tmp_path / name, "--seed_everything", seed)
    a, b, c = (torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in "abc")
    short_runs.assert_same(dict(a), dict(b))
    assert any(not torch.equal(a[key], c[key]) for key in a)


def test_groundtruth_continues_only_with_the_same_settings(tmp_path: Path) -> None:
    more = ["--seeds", "1", "--trainer.limit_train_batches", "1"]
    run("groundtruth", tmp_path, *more)
    assert (tmp_path / "groundtruth.csv").exists()
    before = (tmp_path / "groundtruth_runs.csv").read_text()
    run("groundtruth", tmp_path, *more)
    assert (tmp_path / "groundtruth_runs.csv").read_text() == before
    message = refusal("groundtruth", tmp_path, *more, "--model.final_lr", "0.01")
    assert "begun with model.final_lr 0.0, but now model.final_lr is 0.01" in message


def test_the_config_of_fit_serves_to_train_a_path_alone_and_that_of_retrain_to_continue(
    finished: Path, tmp_path: Path
) -> None:
    more = ["--arch", "4-3-3", "--tricks.mixup", "0.2", "--trainer.default_root_dir", str(tmp_path)]
    main(["retrain", "-c", str(finished / "config.yaml"), "--inherit", str(finished / "last.ckpt"), *more])
    report = json.loads((tmp_path / "retrain.json").read_text())
    assert (report["arch"], report["settings"]["steps"]) == ("4-3-3", 2)
    main(["retrain", "-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    continued = json.loads((tmp_path / "retrain.json").read_text())
    assert (continued["settings"]["steps"], continued["settings"]["tricks"]["mixup"]) == (4, 0.2)
    assert continued["inherited"] == str(finished / "last.ckpt")
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(SystemExit, match=r"begun with tricks\.mixup 0\.2, but now tricks\.mixup is 0\.5"):
        main(["retrain", "-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last", "--tricks.mixup", "0.5"])
    assert (tmp_path / "config.yaml").read_text() == before


def test_a_baseline_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    more = ["--arch", "random", "--number", "2", "--trainer.limit_train_batches", "1"]
    run("retrain", tmp_path, *more)
    message = refusal("retrain", tmp_path, *more, "--tricks.mixup", "0.1", "--ckpt_path", "last")
    assert "begun with tricks.mixup 0.0, but now tricks.mixup is 0.1" in message
    assert "already holds a retraining" in refusal("retrain", tmp_path, *more)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["number"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tricks.mixup", "-1"], "tricks.mixup is -1.0: valid are numbers from 0"),
        (
            ["--tricks.drop_path", "0.2"],
            "tricks.drop_path is not 0, but the networks of this space have none",
        ),
        (["--model.warmup_epochs", "1"], "model.warmup_epochs is 1: valid are numbers from 0"),
        (["--arch", "4-3-9"], "architecture '4-3-9' is not in the space"),
        (["--ckpt_path", "last"], "ckpt_path is 'last', but there is no"),
    ],
)
def test_a_wrong_retraining_ends_in_one_sentence(tmp_path: Path, more: list[str], message: str) -> None:
    assert message in refusal("retrain", tmp_path, "--arch", "4-3-3", *more)
    assert not list(tmp_path.iterdir())


def test_a_network_is_not_trained_over_a_supernet(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    message = refusal("retrain", finished, "--arch", "4-3-3")
    assert "holds the run of a supernet: give the networks trained alone another" in message
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def learn(root: Path, *more: str) -> None:
    """Learns an architecture of NAS-Bench-201 in an epoch of two steps."""
    space, data = CONFIGS / "spaces/nasbench201_small.yaml", CONFIGS / "data/digits.yaml"
    tiny = [*TINY[2:], "--model.space.channels", "2", "--trainer.default_root_dir", str(root)]
    main(["learn", "-c", str(space), "-c", str(data), *tiny, "--data.batch_size", "25", *EPOCH, *more])


def test_an_architecture_is_learnt_continued_and_its_weights_are_scored(tmp_path: Path) -> None:
    learn(tmp_path, "--strategy", "SNAS", "--strategy.alphas_from", "held_out", "--alphas.lr", "0.01")
    first = json.loads((tmp_path / "learn.json").read_text())
    assert (first["epochs"], first["settings"]["alphas.lr"]) == (1, 0.01)
    main(["learn", "-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    assert json.loads((tmp_path / "learn.json").read_text())["epochs"] == 2
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(
        SystemExit,
        match=r"lightning-nas: ckpt_path .*last\.ckpt': the learning was begun with strategy\.alphas_from held_out",
    ):
        learn(tmp_path, "--strategy", "SNAS", "--ckpt_path", "last", "--alphas.lr", "0.01")
    assert (tmp_path / "config.yaml").read_text() == before
    scored = tmp_path / "scored"
    given = ["-c", str(tmp_path / "config.yaml"), "--ckpt_path", str(tmp_path / "last.ckpt")]
    main(["validate", *given, "--ranking.paths", "2", "--trainer.default_root_dir", str(scored)])
    assert len(short_runs.table(scored / "ranking.csv")) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategy", "DART"], "--strategy is 'DART': valid are DARTS, DSNAS, GDAS, SNAS, and class paths"),
        (
            ["--strategy", "DSNAS", "--strategy.gap", "2"],
            "strategy.gap is 2.0: probabilities are less than 1",
        ),
        (["--strategy", "DARTS", "--alphas.lr", "0"], "alphas.lr is 0.0: valid are numbers above 0"),
        (
            ["--strategy", "DARTS", "--trainer.accumulate_grad_batches", "2"],
            "learn updates after every batch",
        ),
        (
            ["--strategy", "DARTS", "--trainer.devices", "2"],
            "trainer has 2 processes, but learn updates alphas",
        ),
        (["--strategy", "DARTS", "--data.batch_size", "51"], "data.batch_size is 51, but strategy learns"),
        (["--strategy", "DARTS", "--ckpt_path", "last"], "ckpt_path is 'last', but there is no"),
    ],
)
def test_a_wrong_learning_ends_in_one_sentence(tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        learn(tmp_path, *more)
    assert stopped.value.code == 2
    assert str(stopped.value).startswith("lightning-nas: ")
    assert message in str(stopped.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--sampler", "DensitySampler", "--sampler.tau", "0"],
            "sampler.tau is 0.0: a temperature is positive",
        ),
        (["--sampler", "DensitySampler", "--sampler.warmup_steps", "99"], "the whole run has 2 steps"),
        (
            ["--sampler", "DensitySampler"],
            "sampler.warmup_steps is 6 by default, but the whole run has 2 steps",
        ),
        (
            ["--sampler", "DensitySampler", "--sampler.probe_size", "101"],
            "the validation split has 100 images",
        ),
        (
            ["--sampler", "PathImportanceSampler", "--sampler.floor", "-1"],
            "sampler.floor is -1.0: a probability",
        ),
        (
            ["--data_sampler", "DataImportanceSampler", "--data_sampler.tau", "2"],
            "data_sampler.tau is 2.0: valid",
        ),
        (["--model.space.image_size", "3"], "Pooling.image_size is 3: 2 halvings need at least 4 pixels"),
        (["--data.val_size", "5000"], "train_size + val_size is 100 + 5000"),
        (["--ranking.benchmark", "nowhere.csv"], "nowhere.csv"),
        (["--ckpt_path", "last"], "ckpt_path is 'last', but there is no"),
        (["--ckpt_path", "nowhere.ckpt"], "ckpt_path is 'nowhere.ckpt', but there is no such file"),
    ],
)
def test_wrong_input_ends_in_one_sentence(tmp_path: Path, more: list[str], message: str) -> None:
    assert message in refusal("fit", tmp_path, *more)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_start_says_only_what_concerns_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        run("fit", tmp_path)
    assert "max_epochs=1" in caplog.text
    assert "Tip" not in caplog.text


def test_a_run_is_not_overwritten(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert "already holds a run: continue it from its last.ckpt" in refusal("fit", finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_space_is_refused(finished: Path, tmp_path: Path) -> None:
    last = ["--ckpt_path", str(finished / "last.ckpt"), "--model.space.channels", "[2, 4, 4]"]
    assert "was trained with channels [2, 2, 4]" in refusal("validate", tmp_path, *last)


def test_a_command_without_a_verb_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "a verb is missing: valid are fit, validate, test, " in (said := capsys.readouterr().err)
    assert "fit-fewshot" in said


def test_a_module_that_cannot_be_found_is_named(tmp_path: Path) -> None:
    message = refusal("fit", tmp_path, "--model.space", "no_such_module.Space")
    assert "there is no module 'no_such_module' on the Python path" in message


def test_abbreviated_flags_are_refused(tmp_path: Path) -> None:
    message = refusal("fit", tmp_path, "--trainer.max_ep", "3")
    assert "there is no key trainer.max_ep; did you mean 'trainer.max_epochs'?" in message


# Those of jsonargparse, once in a process, are of Lightning's calls; pytest.warns raises them again.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_scoring_untrained_weights_is_said_aloud(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="ckpt_path is not given: untrained weights are scored"):
        run("validate", tmp_path)


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_untrained_weights_do_not_replace_the_results_of_a_run(finished: Path, verb: str) -> None:
    assert f"{verb} would replace results of the run" in refusal(verb, finished)


def test_help_and_print_config_read_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = capsys.readouterr().out
    for key in ("--sampler", "--ranking.benchmark", "--model.grad_reduce {mean,sum,active_mean}", "--data"):
        assert key in text
    with pytest.raises(SystemExit):
        main(["fit", *SPACE, "--sampler", "DensitySampler", "--print_config"])
    printed: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    assert printed["sampler"]["init_args"]["representation"] == "functional"
    assert printed["model"]["space"]["init_args"]["channels"] == [8, 16, 32]
    # What follows from the data is not asked for.
    assert "num_classes" not in printed["model"]


def test_the_process_arguments_are_used_without_args(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lightning-nas", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "groundtruth" in capsys.readouterr().out
    assert os.environ  # the parser reads none of it


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["describe", "--space", "Foo"], "--space is 'Foo': valid are AutoFormer, DARTS, "),
        (["fit", "--model.space", "Foo"], "--model.space is 'Foo': valid are AutoFormer, DARTS, "),
        (
            ["fit", "--sampler", "Fair"],
            "--sampler is 'Fair': valid are ComplexitySampler, .*UniformSampler, and class paths",
        ),
        (
            ["fit", "--sampler", "DataImportanceSampler"],
            "--sampler is 'DataImportanceSampler': valid are Compl",
        ),
        (["fit", "--data_sampler", "FairSampler"], "--data_sampler is 'FairSampler': valid are DataImp"),
        (
            ["fit", "--data_sampler", "Fair"],
            "--data_sampler is 'Fair': valid are DataImportanceSampler, and class paths",
        ),
        (
            ["fit", "--data", "Cifar"],
            "--data is 'Cifar': valid are .*DigitsDataModule, .*, and class paths",
        ),
    ],
)
def test_an_unknown_class_is_told_from_those_that_exist(args: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(args)
