"""What is left of a whole run."""

import json
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from learning_runs import CELLS, EACH, SPACE, learn, rows, state, vectors

from lightning_nas import checkpoint
from lightning_nas.callbacks import Ranking
from lightning_nas.differentiable import (
    DARTS,
    DSNAS,
    SNAS,
    LearningStrategy,
)
from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import DARTS as DARTSSpace
from lightning_nas.spaces import (
    RestrictedSpace,
)


def test_a_run_leaves_what_was_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "arch,digits\n" + "".join(f'"{SPACE.encode(path)}",{50 + i}\n' for i, path in enumerate(SPACE))
    )
    root = tmp_path / "run"
    result = learn(root, SNAS(), Ranking(benchmark=str(table)), check_val_every_n_epoch=2)
    arch = result["best"]["arch"]
    truth = 50 + SPACE.index(SPACE.decode(arch))
    found = rows(root, "genotypes.csv")
    assert result["best"]["ground_truth"] == truth == float(found[-1]["ground_truth"])
    assert (result["best"]["params"], result["epochs"]) == (SPACE.cost(SPACE.decode(arch)).params, 3)
    assert [row["accuracy"] != "" for row in found] == [False, True, False]
    assert found[1]["genotype_accuracy"] == str(round(short_runs.logged(root, "val/genotype_accuracy")[0], 4))
    temperatures = [float(row["temperature"]) for row in found]
    assert temperatures == short_runs.logged(root, "learn/temperature")
    assert temperatures == [SNAS().temperature(epoch / 3) for epoch in range(3)]
    assert [float(row["entropy"]) for row in found] == short_runs.logged(root, "learn/entropy")
    assert short_runs.logged(root, "learn/ground_truth")[-1] == truth
    for epoch in ("1", "2", "3"):
        shares = [float(row["probability"]) for row in rows(root, "alphas.csv") if row["epoch"] == epoch]
        assert sum(shares) == pytest.approx(3)
    assert {"alphas.png", "genotype.png", "last.ckpt", "metrics.csv"} <= {p.name for p in root.iterdir()}
    assert f"{arch}, ground truth {truth:.2f} %" in capsys.readouterr().out
    assert result["settings"]["strategy.annealing"] == "cosine"


def test_what_was_learnt_is_retrained_and_its_weights_are_inherited(tmp_path: Path) -> None:
    root = tmp_path / "learnt"
    short: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": 1}
    arch = learn(root, DARTS(), space=CELLS, **short)["best"]["arch"]
    module = short_runs.supernet_module(CELLS)
    short_runs.trainer(tmp_path / "alone", **short).retrain(
        module, short_runs.digits(), str(root / "learn.json"), inherit=str(root / "last.ckpt")
    )
    report = json.loads((tmp_path / "alone" / "retrain.json").read_text())
    assert (report["arch"], report["inherited"]) == (arch, str(root / "last.ckpt"))
    weights = checkpoint.load_supernet(root / "last.ckpt").state_dict()
    trained = state(root)["state_dict"]
    assert all(torch.equal(value, trained[f"supernet.{name}"]) for name, value in weights.items())


def test_the_weights_are_scored_as_a_supernet_and_trained_on_by_learn_alone(tmp_path: Path) -> None:
    learn(tmp_path, SNAS(), max_epochs=1)
    module, scorer = short_runs.supernet_module(SPACE), short_runs.trainer(tmp_path / "scores", Ranking())
    scorer.validate(module, short_runs.digits(), ckpt_path=tmp_path / "last.ckpt", verbose=False)
    trained = state(tmp_path)["state_dict"]
    for name, value in module.supernet.state_dict().items():
        assert torch.equal(value, trained[f"supernet.{name}"])
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0))
    with pytest.raises(
        NASError, match="the checkpoint holds an architecture that is learnt: learn continues it"
    ):
        trainer.fit(module, datamodule=short_runs.digits(), ckpt_path=tmp_path / "last.ckpt")


def test_nothing_is_left_of_a_dry_run(tmp_path: Path) -> None:
    short_runs.trainer(tmp_path, fast_dev_run=1).learn(
        short_runs.supernet_module(SPACE), short_runs.digits(), DARTS()
    )
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in (".csv", ".json", ".png", ".ckpt")]


@pytest.mark.slow
@EACH
def test_cells_are_learnt(tmp_path: Path, strategy: LearningStrategy) -> None:
    leaf = RestrictedSpace(CELLS, ((3,), (0, 1), (0, 1, 2, 4), (0, 1, 2, 3, 4), (1, 3), (2,)))
    for name, space in {"all": CELLS, "leaf": leaf}.items():
        result = learn(tmp_path / name, strategy, space=space, max_epochs=1, limit_train_batches=2)
        assert space.is_valid(space.decode(result["best"]["arch"]))


@pytest.mark.slow
@EACH
def test_cells_of_darts_are_learnt(tmp_path: Path, strategy: LearningStrategy) -> None:
    space = DARTSSpace(channels=2, cells=3)
    data = {"batch_size": 4, "val_size": 10, "eval_batch_size": 10}
    flags: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": 1}
    result = learn(tmp_path, strategy, space=space, data=data, **flags)
    assert space.is_valid(space.decode(result["best"]["arch"]))


def test_a_path_without_a_connection_costs_nothing(tmp_path: Path) -> None:
    """All choices are none: the loss depends on the classifier alone."""
    nothing = RestrictedSpace(CELLS, ((0,), (0,), (0,), (0, 1), (0,), (0,)))
    learn(tmp_path, DSNAS(), space=nothing, max_epochs=2)
    assert all(vector.isfinite().all() for vector in vectors(state(tmp_path)))
