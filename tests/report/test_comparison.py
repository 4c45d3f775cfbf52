from pathlib import Path
from typing import Any

import pytest
import report_runs

from lightning_nas.report.comparison import Spread, differences, environments, methods, numbers
from lightning_nas.report.run import Run, read_runs


def seeds_of(root: Path, name: str, accuracies: list[float], **options: Any) -> list[Path]:
    """A run of one epoch for every seed."""
    return [
        report_runs.write(root / name / str(seed), report_runs.config(seed, **options), [accuracy])
        for seed, accuracy in enumerate(accuracies)
    ]


def read(tmp_path: Path, *keys: Any) -> list[Run]:
    return read_runs([report_runs.write(tmp_path / f"run{i}", own) for i, own in enumerate(keys)])


def test_seeds_of_a_method_are_averaged_with_their_spread(tmp_path: Path) -> None:
    uniform = seeds_of(tmp_path, "uniform", [50, 60, 70])
    density = seeds_of(tmp_path, "density", [90], sampler="DensitySampler")
    found = {method.name: method for method in methods(read_runs([*uniform, *density]))}
    assert list(found) == ["UniformSampler", "DensitySampler"]
    assert [run.label for run in found["UniformSampler"].runs] == ["uniform/0", "uniform/1", "uniform/2"]
    # Squared deviations 100, 0, 100, over two degrees of freedom.
    assert found["UniformSampler"].spreads()["last val/accuracy"] == Spread(60, 10)
    assert found["DensitySampler"].spreads()["last val/accuracy"] == Spread(90, None)


def test_a_repeated_seed_counts_once(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, "first", [50, 60])
    again = report_runs.write(tmp_path / "again", report_runs.config(1), [70])
    [method] = methods(read_runs([*runs, again]))
    assert len(method.seeds) == 2
    assert method.values("last val/accuracy") == [50, 65]


def test_what_some_seeds_lack_is_averaged_over_the_others(tmp_path: Path) -> None:
    runs = seeds_of(tmp_path, "run", [50, 60])
    (runs[1] / "ranking.json").write_text('{"n": 36, "kendall_tau": 0.4}')
    [method] = methods(read_runs(runs))
    assert method.values("kendall_tau") == [0.4]
    assert numbers(method.runs[1]) == {"best val/accuracy": 60, "last val/accuracy": 60, "kendall_tau": 0.4}


def test_runs_without_settings_are_methods_of_their_own(tmp_path: Path) -> None:
    found = methods(read_runs([report_runs.write(tmp_path / name, accuracies=[1]) for name in "ab"]))
    assert [method.name for method in found] == ["supernet, a", "supernet, b"]
    assert all(len(method.seeds) == 1 for method in found)


def test_methods_of_the_same_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    taus = [report_runs.config(sampler="DensitySampler", tau=tau, seed=0) for tau in (1.0, 5.0)]
    assert [method.name for method in methods(read(tmp_path / "taus", *taus))] == [
        "DensitySampler, tau 1.0",
        "DensitySampler, tau 5.0",
    ]
    other = report_runs.config()
    other["model"]["space"]["class_path"] = "lightning_nas.spaces.NASBench201"
    assert [method.name for method in methods(read(tmp_path / "spaces", report_runs.config(), other))] == [
        "UniformSampler, Pooling",
        "UniformSampler, NASBench201",
    ]
    many = report_runs.config()
    many["ranking"] = {"paths": 5, "stratified": True, "recalibrate": 4, "probe_size": 0}
    assert [method.name for method in methods(read(tmp_path / "many", report_runs.config(), many))] == [
        "UniformSampler, paths all",
        "UniformSampler, run1",
    ]


def test_a_group_among_many_is_told_by_what_it_alone_has(tmp_path: Path) -> None:
    seeds = [report_runs.config(seed) for seed in (0, 1)]
    for seed in seeds:
        seed["ranking"] = {"paths": 6, "stratified": False, "recalibrate": 5, "probe_size": 1}
    few = {**report_runs.config(), "tree": None}
    other, another = report_runs.config(), report_runs.config()
    other["ranking"] = {"paths": 5, "stratified": True, "recalibrate": 4, "probe_size": 0}
    another["data"]["class_path"] = "lightning_nas.data.CIFAR10DataModule"
    assert [method.name for method in methods(read(tmp_path, *seeds, few, other, another))] == [
        "UniformSampler, run0 and 1 more",
        "UniformSampler, few-shot supernets",
        "UniformSampler, run3",
        "UniformSampler, CIFAR10",
    ]


def test_names_are_never_alike(tmp_path: Path) -> None:
    keys = [
        report_runs.config(sampler="FairSampler", list=[number] * 99 + [end] + [0] * 99)
        for number, end in [(1, 1), (1, 2)]
    ]
    names = [method.name for method in methods(read(tmp_path, *keys))]
    assert len(set(names)) == 2
    assert [name.endswith(f"(run{i})") for i, name in enumerate(names)] == [True, True]


def test_settings_that_differ(tmp_path: Path) -> None:
    first = report_runs.config(0, "DensitySampler", tau=1.0)
    second, third = report_runs.config(1), report_runs.config(1)
    third["trainer"]["callbacks"] = [{"class_path": "Watch", "init_args": {"every": 2}}]
    assert differences(read(tmp_path, first, second, third)) == {
        "seed_everything": ["0", "1", "1"],
        "sampler.class_path": ["lightning_nas.samplers.DensitySampler", "-", "-"],
        "sampler.init_args.tau": ["1.0", "-", "-"],
        "trainer.callbacks.0.class_path": ["-", "-", "Watch"],
        "trainer.callbacks.0.init_args.every": ["-", "-", "2"],
    }


@pytest.mark.parametrize("keys", [[None], [{"a": 1}, {"a": 1}], [None, None]])
def test_equal_settings_are_left_out(keys: Any, tmp_path: Path) -> None:
    runs = [report_runs.write(tmp_path / str(i), own, [1]) for i, own in enumerate(keys)]
    assert differences(read_runs(runs)) == {}


def test_runs_of_one_environment_stand_together(tmp_path: Path) -> None:
    here = {"command": "lightning-nas fit", "folder": "/x", "torch": "2.10", "processes": 2, "commit": None}
    there = {**here, "torch": "2.11", "commit": "abc"}
    contents = [{"fit": here, "validate": {**here, "command": "validate"}}, {"fit": there}, {"fit": here}, {}]
    runs = [
        report_runs.write(tmp_path / name, accuracies=[1], results={"environment.json": content})
        for name, content in zip("abcd", contents, strict=True)
    ]
    assert environments(read_runs(runs)) == {
        (("torch", "2.10"), ("processes", "2"), ("commit", "")): ["a", "c"],
        (("torch", "2.11"), ("processes", "2"), ("commit", "abc")): ["b"],
        (): ["d"],
    }
