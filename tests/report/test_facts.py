from pathlib import Path
from typing import Any

import pytest
import report_runs

from lightning_nas.report.facts import identity, kind, measures, rankings, words
from lightning_nas.report.run import Run, read_runs


def read(tmp_path: Path, *args: Any, **kwargs: Any) -> Run:
    number = len(list(tmp_path.iterdir()))
    return read_runs([report_runs.write(tmp_path / str(number), *args, **kwargs)])[0]


def test_a_supernet_in_words(tmp_path: Path) -> None:
    run = read(tmp_path, report_runs.config(seed=2), accuracies=[50, 70, 60])
    assert words(run) == {
        "kind": "supernet",
        "space": "Pooling",
        "method": "UniformSampler",
        "data": "Digits",
        "seed": "2",
        "epochs": "3 of 4",
        "steps": "29",
    }
    assert measures(run) == {"best val/accuracy": 70, "last val/accuracy": 60}
    assert words(read(tmp_path, report_runs.config(), accuracies=[1, 2, 3, 4]))["epochs"] == "4"


def test_methods_are_named_by_who_chooses(tmp_path: Path) -> None:
    fair = report_runs.config(sampler="FairSampler")
    data = {"data_sampler": {"class_path": "lightning_nas.samplers.DataImportanceSampler"}}
    callback = report_runs.config()
    callback["trainer"]["callbacks"] = [{"class_path": "mine.Watch"}, {"class_path": "mine.OwnSampler"}]
    learnt = {**report_runs.config(), "strategy": {"class_path": "lightning_nas.differentiable.GDAS"}}
    retrained = {**report_runs.config(), "arch": "search.json"}
    assert words(read(tmp_path, fair))["method"] == "FairSampler"
    assert words(read(tmp_path, {**fair, **data}))["method"] == "FairSampler + DataImportanceSampler"
    assert words(read(tmp_path, callback))["method"] == "OwnSampler"
    assert words(read(tmp_path, learnt))["method"] == "GDAS"
    assert words(read(tmp_path, retrained))["method"] == "search.json"
    known = read(tmp_path, retrained, results={"retrain.json": {"arch": "4-3-3"}})
    assert words(known)["method"] == "4-3-3"


def test_part_of_a_space_names_the_whole_and_a_folder_of_images_is_named(tmp_path: Path) -> None:
    keys = report_runs.config()
    keys["model"]["space"] = {"class_path": "a.ListedSpace", "init_args": {"space": keys["model"]["space"]}}
    keys["data"] = {"class_path": "a.ImageFolderDataModule", "init_args": {"root": "datasets/cats"}}
    found = words(read(tmp_path, keys))
    assert (found["space"], found["data"]) == ("ListedSpace of Pooling", "ImageFolder (cats)")


@pytest.mark.parametrize(
    ("keys", "results", "expected"),
    [
        ({"strategy": {}}, {}, "learnt architecture"),
        ({"arch": "random"}, {}, "network trained alone"),
        ({"tree": None}, {}, "few-shot supernets"),
        (None, {"tree.json": {}}, "few-shot supernets"),
        (None, {"search.json": {}}, "search"),
        (None, {"estimates.json": {}}, "estimates"),
        (None, {"ranking.json": {}}, "ranking"),
    ],
)
def test_kinds_follow_from_the_files(keys: Any, results: Any, expected: str, tmp_path: Path) -> None:
    assert kind(read(tmp_path, keys, results=results)) == expected


def test_a_ground_truth_is_known_from_its_first_network_on(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    (run / "groundtruth_runs.csv").write_text("arch,seed,accuracy,seconds\n4-3-3,0,91.5,3\n")
    assert kind(read_runs([run])[0]) == "ground truth"


def test_settings_of_a_search_and_of_estimates_stand_in_their_results(tmp_path: Path) -> None:
    space = {"class_path": "lightning_nas.spaces.Pooling"}
    search = {"settings": {"space": space, "algorithm": {"name": "NSGA2"}, "seed": 4}}
    estimates = {
        "settings": {
            "space": space,
            "estimators": ["synflow", "snip"],
            "data": "digits, images 12",
            "seeds": [0, 1],
        }
    }
    found = words(read(tmp_path, results={"search.json": search}))
    assert (found["space"], found["method"], found["seed"]) == ("Pooling", "NSGA2", "4")
    found = words(read(tmp_path, results={"estimates.json": estimates}))
    assert (found["method"], found["data"], found["seed"]) == ("synflow, snip", "digits", "0, 1")


def test_strange_files_leave_words_empty(tmp_path: Path) -> None:
    strange = {"trainer": 3, "model": {"space": [1]}, "data": None, "sampler": "no", "seed_everything": None}
    found = words(read(tmp_path, strange))
    assert found == {
        "kind": "supernet",
        "space": "",
        "method": "UniformSampler",
        "data": "",
        "seed": "",
        "epochs": "",
        "steps": "",
    }


def test_runs_are_alike_whose_seed_folder_and_logger_differ(tmp_path: Path) -> None:
    first, second, other = (report_runs.config(seed) for seed in (0, 1, 2))
    second["data"]["init_args"]["seed"] = 5
    second["trainer"]["logger"] = {"class_path": "WandbRun", "init_args": {"name": "second"}}
    other["trainer"]["max_epochs"] = 5
    alike = [identity(read(tmp_path, keys)) for keys in (first, second, other)]
    assert alike[0] == alike[1] != alike[2]
    assert identity(read(tmp_path, accuracies=[1])) != identity(read(tmp_path, accuracies=[1]))


def test_numbers_of_every_verb(tmp_path: Path) -> None:
    run = read(
        tmp_path,
        accuracies=[15, 10],
        results={
            "retrain.json": {
                "val/accuracy": 36,
                "test/accuracy": 35.5,
                "test/top5": None,
                "ground_truth": 90,
            },
            "search/search.json": {"best": {"score": 56, "ground_truth": None}},
            "selection.json": {"accuracy": 12.5, "regret": 0.0},
        },
    )
    assert measures(run) == {
        "best val/accuracy": 36,
        "last val/accuracy": 36,
        "test/accuracy": 35.5,
        "ground_truth": 90,
        "search: score": 56,
        "chosen leaf: accuracy": 12.5,
        "chosen leaf: regret": 0,
    }
    learnt = read(tmp_path, results={"learn.json": {"best": {"genotype_accuracy": 20, "ground_truth": 80.5}}})
    assert measures(learnt) == {"genotype_accuracy": 20, "ground_truth": 80.5}


def test_criteria_are_those_of_validate_or_else_the_last_of_the_training(tmp_path: Path) -> None:
    results = {
        "ranking.json": {**report_runs.CRITERIA, "pearson": None, "evaluation": {"eval_batch_size": 5}}
    }
    training = "step,ranking/kendall_tau,ranking/spearman\n9,0.1,0.2\n19,0.3,\n"
    run = report_runs.write(tmp_path / "both", results=results)
    (run / "metrics.csv").write_text(training)
    assert rankings(read_runs([run])[0]) == {"validate": {"n": 3, "kendall_tau": 0.5, "spearman": 0.75}}
    run = report_runs.write(tmp_path / "training", results={"test_ranking.json": {"kendall_tau": 0.9}})
    (run / "metrics.csv").write_text(training)
    found = rankings(read_runs([run])[0])
    assert found == {"training": {"kendall_tau": 0.3, "spearman": 0.2}, "test": {"kendall_tau": 0.9}}
    assert next(iter(found)) == "training"
    assert rankings(read(tmp_path, accuracies=[1])) == {}
