import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback
from short_runs import QUIET, assert_same, digits, supernet_module, table, trainer
from toy_space import Toy

from lightning_nas import checkpoint, fewshot
from lightning_nas.callbacks import Ranking, RunCheckpoint
from lightning_nas.cli import main
from lightning_nas.commands import rank
from lightning_nas.errors import NASError
from lightning_nas.fewshot import EveryChoice, Plan, Rung, Subject, split
from lightning_nas.fewshot.selection import checked, choose, last_scores
from lightning_nas.module import SupernetModule
from lightning_nas.optim.calr import CaLR
from lightning_nas.optim.momentum_separation import MomentumSeparation, MomentumSeparationSGD
from lightning_nas.samplers import (
    DensitySampler,
    FairSampler,
    PathImportanceSampler,
    PathSampler,
    PrototypeDensitySampler,
    UniformSampler,
)
from lightning_nas.spaces import NormPolicy

SPACE = Toy(layers=2, width=4, in_channels=1, image_size=8)


def module_of(**options: Any) -> SupernetModule:
    return supernet_module(SPACE, **options)


def write_split(folder: Path, plan: Plan | None = None) -> None:
    root = split(Subject(SPACE, None, None, 0), EveryChoice(), plan or Plan(depth=1))  # type: ignore[arg-type]
    fewshot.write(root, {}, folder)


def fit(root: Path, *callbacks: Any, sampler: Any = None, options: Any = None, **flags: Any) -> None:
    if not (root / "tree.json").exists():
        write_split(root)
    given = [sampler or UniformSampler(seed=0), Ranking(), RunCheckpoint(every_n_train_steps=1), *callbacks]
    trainer(root, *given, **{"max_epochs": 2, **flags}).fit_fewshot(module_of(), digits(), **(options or {}))


def weights(root: Path, leaf: int) -> dict[str, torch.Tensor]:
    return dict(checkpoint.read(root / f"leaf-{leaf}" / "last.ckpt")["state_dict"])


class Watch(Callback):
    """Notes what is trained, and fails at a step of a leaf; copies share what they note."""

    def __init__(self, seen: dict[str, list[Any]], fail: tuple[str, int] | None = None) -> None:
        self.seen = seen
        self.fail = fail

    def __deepcopy__(self, memo: object) -> "Watch":
        return Watch(self.seen, self.fail)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        leaf = Path(trainer.default_root_dir).name
        self.seen.setdefault(leaf, []).extend(pl_module.paths)
        if self.fail == (leaf, trainer.global_step):
            raise RuntimeError("power cut")


def test_a_leaf_trains_its_own_choices_alone(tmp_path: Path) -> None:
    seen: dict[str, list[Any]] = {}
    fit(tmp_path, Watch(seen))
    assert {leaf: {path[0] for path in paths} for leaf, paths in seen.items()} == {
        "leaf-0": {0},
        "leaf-1": {1},
        "leaf-2": {2},
    }
    fresh = [module_of() for _ in range(3)]
    few = trainer(tmp_path)._few_shot(fresh[0], digits(), None, None)
    for leaf in range(3):
        before, after = few.supernet(leaf).state_dict(), weights(tmp_path, leaf)
        still = {name for name in before if torch.equal(before[name], after[name])}
        # The choice that is left, of those that have weights, moved with the rest.
        others = {f"supernet.choices.0.{choice - 1}.0" for choice in (1, 2) if choice != leaf}
        assert still == {f"{name}.{part}" for name in others for part in ("weight", "bias")}
    starts = [few.supernet(leaf).state_dict()["supernet.stem.1.weight"] for leaf in (0, 1, 0)]
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0], starts[1])


def test_an_interrupted_training_continues_bit_for_bit(tmp_path: Path) -> None:
    fit(tmp_path / "straight")
    for name, where in {"first": ("leaf-0", 3), "epoch": ("leaf-1", 4), "last": ("leaf-2", 7)}.items():
        with pytest.raises(RuntimeError, match="power cut"):
            fit(tmp_path / name, Watch({}, where))
        seen: dict[str, list[Any]] = {}
        fit(tmp_path / name, Watch(seen))
        assert sum(map(len, seen.values())) < 3 * 8
        for leaf in range(3):
            assert_same(weights(tmp_path / name, leaf), weights(tmp_path / "straight", leaf))
            scores = [(tmp_path / run / f"leaf-{leaf}/scores/epoch_0002.csv") for run in (name, "straight")]
            assert scores[0].read_bytes() == scores[1].read_bytes()
    seen = {}
    fit(tmp_path / "straight", Watch(seen))
    assert seen == {}


class Preempt(Watch):
    """The cluster takes the machine away at that step."""

    def __deepcopy__(self, memo: object) -> "Preempt":
        return Preempt(self.seen, self.fail)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self.fail == (Path(trainer.default_root_dir).name, trainer.global_step):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_job_finds_out_that_a_leaf_was_preempted(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        fit(tmp_path / "run", Preempt({}, ("leaf-1", 2)))
    assert end.value.code == 128 + signal.SIGTERM
    assert (tmp_path / "run" / "preempted").is_file()
    assert not (tmp_path / "run" / "leaf-2").exists()
    fit(tmp_path / "run")
    fit(tmp_path / "straight")
    assert_same(weights(tmp_path / "run", 1), weights(tmp_path / "straight", 1))


def test_the_job_of_one_leaf_finds_out_in_its_own_run_directory(tmp_path: Path) -> None:
    """Other leaves may be trained at the same time."""
    with pytest.raises(SystemExit):
        fit(tmp_path, Preempt({}, ("leaf-1", 2)), options={"leaf": 1})
    assert (tmp_path / "leaf-1" / "preempted").is_file()
    assert not (tmp_path / "preempted").exists()


def test_a_leaf_alone_is_what_it_is_among_all(tmp_path: Path) -> None:
    fit(tmp_path / "all")
    fit(tmp_path / "one", options={"leaf": 1})
    assert not (tmp_path / "one" / "leaf-0" / "last.ckpt").exists()
    assert_same(weights(tmp_path / "one", 1), weights(tmp_path / "all", 1))


def test_leaves_inherit_the_weights_of_the_supernet(tmp_path: Path) -> None:
    module = module_of()
    trainer(tmp_path / "one-shot", UniformSampler(seed=0), max_epochs=1).fit(module, digits())
    last = tmp_path / "one-shot" / "last.ckpt"
    write_split(tmp_path)
    few = trainer(tmp_path)._few_shot(module_of(), digits(), None, str(last))
    assert_same(dict(few.supernet(2).state_dict()), dict(module.state_dict()))
    with pytest.raises(NASError, match=r"inherit is 'nowhere.ckpt', but there is no such file"):
        fit(tmp_path, options={"inherit": "nowhere.ckpt"})
    other = trainer(tmp_path)._few_shot(module_of(norm=NormPolicy(affine=True)), digits(), None, str(last))
    with pytest.raises(
        NASError, match=r"was trained with norm\.affine False, but model\.norm\.affine is True"
    ):
        other.supernet(0)


def test_only_the_best_leaves_are_trained_to_the_end(tmp_path: Path) -> None:
    fit(tmp_path / "all", max_epochs=3)
    accuracy = [last_scores(tmp_path / "all" / f"leaf-{leaf}", 1).mean for leaf in range(3)]
    best = int(np.argmax(accuracy))
    halving = {"halving": [Rung(epoch=1, keep=0.5)]}
    with pytest.raises(RuntimeError, match="power cut"):
        fit(tmp_path / "half", Watch({}, (f"leaf-{best}", 6)), max_epochs=3, options=halving)
    fit(tmp_path / "half", max_epochs=3, options=halving)
    for leaf in range(3):
        epochs = {file.stem for file in (tmp_path / "half" / f"leaf-{leaf}" / "scores").iterdir()}
        assert len(epochs) == (3 if leaf == best else 1)
    # Having paused changes nothing.
    assert_same(weights(tmp_path / "half", best), weights(tmp_path / "all", best))
    trainer(tmp_path / "half", Ranking()).validate_fewshot(module_of(), digits())
    selection = json.loads((tmp_path / "half" / "selection.json").read_text())
    assert selection["leaf"] == best
    assert [row["finished"] for row in selection["leaves"]] == [leaf == best for leaf in range(3)]
    short = trainer(tmp_path / "half", Ranking(), max_epochs=1, limit_train_batches=1)
    short.validate_fewshot(module_of(), digits(), retrain=True)
    assert [path.parent.name for path in (tmp_path / "half").glob("*/retrain")] == [f"leaf-{best}"]


def test_the_best_go_on_and_of_equals_the_first() -> None:
    accuracies = {0: 10.0, 2: 30.0, 3: 20.0, 5: 20.0, 6: 5.0}
    assert Rung(1, 0.5).survivors(accuracies) == [2, 3]
    assert Rung(1, 0.8).survivors(accuracies) == [0, 2, 3, 5]
    assert Rung(1, 0.1).survivors(accuracies) == [2]
    # GM-NAS: 8 to epoch 30, 4 to 100, 2 to the end.
    left = list(range(8))
    for rung, number in ((Rung(30), 4), (Rung(100), 2)):
        left = rung.survivors({leaf: float(leaf % 3) for leaf in left})
        assert len(left) == number


SAMPLERS: dict[str, Callable[[], PathSampler]] = {
    "fair": lambda: FairSampler(seed=0),
    "pada": lambda: PathImportanceSampler(seed=0),
    "density": lambda: DensitySampler(tau=1.0, warmup_steps=2, seed=0),
    "prototypes": lambda: PrototypeDensitySampler(tau=1.0, warmup_steps=2, seed=0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_sampler_stays_within_the_leaf(name: str, tmp_path: Path) -> None:
    seen: dict[str, list[Any]] = {}
    fit(tmp_path, Watch(seen), sampler=SAMPLERS[name](), max_epochs=1)
    assert {leaf: {path[0] for path in paths} for leaf, paths in seen.items()} == {
        f"leaf-{leaf}": {leaf} for leaf in range(3)
    }


def test_learning_rates_and_momentum_by_path_within_a_leaf(tmp_path: Path) -> None:
    write_split(tmp_path)

    def optimizer(params: Any) -> torch.optim.Optimizer:
        return MomentumSeparationSGD(params, lr=0.1, momentum=0.9)

    callbacks = [UniformSampler(seed=0), CaLR(), MomentumSeparation(), Ranking()]
    module = module_of(optimizer=optimizer, schedule="constant")
    trainer(tmp_path, *callbacks, max_epochs=1).fit_fewshot(module, digits(), leaf=1)
    assert (tmp_path / "leaf-1" / "scores" / "epoch_0001.csv").is_file()


def test_every_path_is_scored_by_its_own_leaf(tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    rows = [f"{SPACE.encode(path)},{50 + number}" for number, path in enumerate(SPACE)]
    truth.write_text("\n".join(["arch,digits", *rows]) + "\n")
    run = tmp_path / "run"
    fit(run)
    ranking = Ranking(benchmark=str(truth))
    trainer(run, ranking).validate_fewshot(module_of(), digits())
    merged = table(run / "ranking.csv")
    assert [row["arch"] for row in merged] == [SPACE.encode(path) for path in SPACE]
    for row in merged:
        leaf = int(row["leaf"])
        assert leaf == SPACE.decode(row["arch"])[0]
        own = {r["arch"]: r for r in table(run / f"leaf-{leaf}" / "scores" / "epoch_0002.csv")}
        assert (row["accuracy"], row["loss"]) == (own[row["arch"]]["accuracy"], own[row["arch"]]["loss"])
    rank([run / "ranking.csv"], out=tmp_path / "ranked")
    selection = json.loads((run / "selection.json").read_text())
    means = [np.mean([float(row["accuracy"]) for row in merged if row["leaf"] == str(i)]) for i in range(3)]
    assert selection["leaf"] == int(np.argmax(means))
    firsts = [row["ground_truth"] for row in selection["leaves"]]
    assert selection["regret"] == max(firsts) - firsts[selection["leaf"]]
    epochs = table(run / "leaves_over_epochs.csv")
    assert [(row["epoch"], row["leaf"]) for row in epochs] == [
        (str(e), str(k)) for e in (1, 2) for k in range(3)
    ]
    assert {row["chosen"] for row in epochs[3:]} == {str(selection["leaf"])}
    assert (run / "leaves_over_epochs.png").is_file()
    trainer(run, Ranking(paths=4)).validate_fewshot(module_of(), digits())
    assert len(table(run / "ranking.csv")) == 4


def test_only_what_this_validation_scored_counts(tmp_path: Path) -> None:
    fit(tmp_path, max_epochs=1)
    trainer(tmp_path, Ranking()).validate_fewshot(module_of(), digits())
    (tmp_path / "some.txt").write_text(f"{SPACE.encode((2, 0))}\n{SPACE.encode((2, 1))}\n")
    some = Ranking(paths=str(tmp_path / "some.txt"))
    trainer(tmp_path, some).validate_fewshot(module_of(), digits())
    selection = json.loads((tmp_path / "selection.json").read_text())
    assert [row["leaf"] for row in selection["leaves"]] == [2]
    fit(tmp_path, max_epochs=2, options={"leaf": 0})
    with pytest.raises(NASError, match=r"no leaf that was trained to the end has a path that was scored"):
        trainer(tmp_path, some).validate_fewshot(module_of(), digits())


def rows(*facts: tuple[bool, float, float | None]) -> list[dict[str, Any]]:
    names = ("finished", "accuracy", "ground_truth")
    return [
        {"leaf": leaf, "arch": str(leaf), **dict(zip(names, fact, strict=True))}
        for leaf, fact in enumerate(facts)
    ]


def test_the_regret_is_that_of_all_leaves_and_the_choice_among_those_trained_to_the_end() -> None:
    found = choose(rows((False, 90, 80), (True, 50, 60), (True, 50, 70), (True, 40, 75)), "accuracy")
    assert (found["leaf"], found["best_leaf"], found["regret"]) == (1, 0, 20)
    assert choose(rows((True, 50, 60), (True, 50, 60)), "accuracy")["best_leaf"] == 0
    unknown = choose(rows((True, 50, None), (True, 60, None)), "accuracy")
    assert (unknown["leaf"], unknown["best_leaf"], unknown["regret"]) == (1, None, None)


def test_a_leaf_can_be_chosen_by_training_what_it_ranks_first(tmp_path: Path) -> None:
    fit(tmp_path, max_epochs=1)
    trainer(tmp_path, Ranking(), max_epochs=1).validate_fewshot(module_of(), digits(), retrain=True)
    selection = json.loads((tmp_path / "selection.json").read_text())
    retrained = [row["retrained"] for row in selection["leaves"]]
    assert selection["by"] == "retrained"
    assert selection["leaf"] == int(np.argmax(retrained))
    report = tmp_path / "leaf-0" / "retrain" / "retrain.json"
    assert json.loads(report.read_text())["val/accuracy"] == retrained[0]
    report.write_text(json.dumps(json.loads(report.read_text()) | {"arch": "another"}))
    with pytest.raises(NASError, match=r"holds the network of another, but that of .* is wanted: remove it"):
        trainer(tmp_path, Ranking(), max_epochs=1).validate_fewshot(module_of(), digits(), retrain=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leaf": 3}, "leaf is 3: valid are 0 to 2"),
        ({"leaf": 0, "halving": [Rung(1)]}, "leaf is 0, but halving compares all leaves"),
        ({"halving": [Rung(2)]}, r"halving has epochs \[2\], but they must rise and be less than"),
        ({"tree": "nowhere"}, "tree is 'nowhere', but there is no nowhere/tree.json"),
    ],
)
def test_what_does_not_fit_the_split_is_refused(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(NASError, match=message):
        fit(tmp_path, options=options)


def test_other_mistakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"halving has epoch 0 and keep 0\.5"):
        Rung(0)
    with pytest.raises(NASError, match=r"halving has epochs \[3, 2\]"):
        checked([Rung(3), Rung(2)], 10, 1)
    with pytest.raises(NASError, match=r"trainer\.max_epochs, which is None"):
        checked([Rung(3)], None, 1)
    with pytest.raises(NASError, match=r"halving has epoch 3, but trainer\.check_val_every_n_epoch is 5"):
        checked([Rung(3)], 10, 5)
    assert checked([Rung(3), Rung(4)], 10, None) == (Rung(3), Rung(4))
    write_split(tmp_path)
    with pytest.raises(NASError, match="leaf 0 is not trained: there is no"):
        trainer(tmp_path, Ranking()).validate_fewshot(module_of(), digits())
    with pytest.raises(NASError, match="has no scores up to epoch 1, by which leaves are left out"):
        fit(tmp_path, limit_val_batches=0, options={"halving": [Rung(1)]})


@pytest.mark.slow
def test_the_verbs_from_a_split_to_a_choice(tmp_path: Path) -> None:
    run = str(tmp_path)
    common = ["-c", "configs/spaces/nasbench201_small.yaml", "-c", "configs/data/digits.yaml"]
    common += ["--model.space.channels", "2", "--trainer.default_root_dir", run]
    common += [f"--trainer.{key}={value}" for key, value in QUIET.items()]
    short = ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--ranking.paths", "5"]
    main(["split", *common, "--metric", "ParameterCount", "--depth", "1"])
    with pytest.raises(SystemExit, match=r"halving has epochs \[9\], but they must rise"):
        main(["fit-fewshot", *common, *short, "--halving", "[{epoch: 9}]"])
    main(["fit-fewshot", *common, *short])  # nothing was begun with the other settings
    kept = yaml.safe_load((tmp_path / "leaf-1" / "config.yaml").read_text())
    assert kept["trainer"]["default_root_dir"] == str(tmp_path / "leaf-1")
    assert kept["model"]["space"]["class_path"].endswith("RestrictedSpace")
    with pytest.raises(
        SystemExit, match=r"was begun with trainer\.max_epochs 1, but now trainer\.max_epochs is 2"
    ):
        main(["fit_fewshot", *common, *short, "--trainer.max_epochs", "2"])
    main(["validate-fewshot", "-c", str(tmp_path / "leaf-1" / "config.yaml"), *common, *short])
    assert len(table(tmp_path / "ranking.csv")) == 5
    main(["fit", *common, *short, "-c", f"{run}/leaf-0.yaml", "--trainer.default_root_dir", f"{run}/alone"])
    assert checkpoint.facts(tmp_path / "alone" / "last.ckpt").space.size == 3125
    with pytest.raises(SystemExit, match="already holds a split"):
        main(["split", *common, "--metric", "ParameterCount", "--depth", "1"])
    with pytest.raises(SystemExit, match="--metric is 'Parameters': valid are Estimated, EveryChoice"):
        main(["split", *common, "--metric", "Parameters"])
