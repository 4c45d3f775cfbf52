import json
import re
import signal
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lightning_nas import checkpoint, groundtruth
from lightning_nas.architecture import network_seed
from lightning_nas.callbacks import Ranking, RunCheckpoint
from lightning_nas.errors import NASError
from lightning_nas.optim.calr import CaLR
from lightning_nas.retraining import inherit
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NormPolicy, Pooling
from lightning_nas.standalone import StandaloneModule
from lightning_nas.tricks import Tricks

SPACE = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4), in_channels=1, image_size=8)


def retrain(root: Path, *callbacks: Any, flags: dict[str, Any] | None = None, **options: Any) -> Any:
    trainer = short_runs.trainer(root, *callbacks, **(flags or {}))
    given: dict[str, Any] = {
        "model": short_runs.supernet_module(SPACE),
        "datamodule": short_runs.digits(),
        "arch": "1-1-2",
    }
    trainer.retrain(**(given | options))
    return json.loads((root / "retrain.json").read_text())


def weights(root: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(root / "last.ckpt", weights_only=True)["state_dict"])


def test_the_report_says_what_was_trained_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "arch,digits\n" + "".join(f'"{SPACE.encode(path)}",{90 + i}\n' for i, path in enumerate(SPACE))
    )
    result = retrain(
        tmp_path / "run",
        Ranking(benchmark=str(table)),
        arch=SPACE.encode(SPACE[1]),
        tricks=Tricks(mixup=0.2),
        flags={"gradient_clip_val": 5.0},
    )
    network = checkpoint.load_network(tmp_path / "run" / "last.ckpt")
    module = StandaloneModule(network.module, 10)
    [test] = short_runs.trainer(tmp_path / "other").test(module, short_runs.digits(), verbose=False)
    assert network.path == SPACE[1]
    assert result["test/accuracy"] == round(test["test/accuracy"], 4)
    assert result["test/top5"] == round(test["test/top5"], 4) > result["test/accuracy"]
    assert result["val/top5"] >= result["val/accuracy"] > 0
    assert (result["params"], result["macs"]) == astuple(SPACE.cost(SPACE[1]))
    assert (result["ground_truth"], result["seed"], result["inherited"]) == (91, 0, None)
    assert result["difference"] == pytest.approx(result["test/accuracy"] - 91, abs=1e-4)
    assert result["settings"]["optimizer"]["lr"] == 0.1
    expected = {"gradient_clip_val": 5.0, "images_per_step": 50, "steps": 12, "schedule": "cosine"}
    assert expected.items() <= result["settings"].items()
    assert result["settings"]["tricks"]["mixup"] == 0.2
    assert f"{SPACE.encode(SPACE[1])}: validation {result['val/accuracy']:.2f} %" in capsys.readouterr().out
    assert len(short_runs.logged(tmp_path / "run", "val/accuracy")) == 3


def test_a_network_is_that_of_the_ground_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same seeds for weights and data, and without tricks."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    path, flags = SPACE[2], {"max_epochs": 2, "accelerator": "cpu"}
    data = short_runs.digits(seed=network_seed(SPACE, path, 4))
    result = retrain(tmp_path, arch=SPACE.encode(path), datamodule=data, flags={"max_epochs": 2})
    network = groundtruth.Network(path, 4)
    measured = groundtruth.train(short_runs.supernet_module(SPACE), short_runs.digits(), flags, network)
    assert result["test/accuracy"] == measured.accuracy


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("supernet")
    module = short_runs.supernet_module(SPACE)
    short_runs.trainer(root, UniformSampler(seed=0), max_epochs=1).fit(module, datamodule=short_runs.digits())
    return root / "last.ckpt"


def test_inherited_weights_compute_what_the_supernet_does(supernet: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    network = module.standalone(SPACE[1]).network
    fresh = inherit(network, supernet, module, SPACE[1])
    assert fresh == ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"]
    x = torch.randn(8, 1, 8, 8)
    torch.testing.assert_close(network.train()(x), checkpoint.load_supernet(supernet).train()(x, SPACE[1]))


def test_all_of_a_supernet_with_the_same_batch_norm_is_inherited(tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE, norm=NormPolicy(affine=True, running_stats=True))
    short_runs.trainer(tmp_path, UniformSampler(seed=0), max_epochs=1).fit(
        module, datamodule=short_runs.digits()
    )
    assert inherit(module.standalone(SPACE[1]).network, tmp_path / "last.ckpt", module, SPACE[1]) == []


def test_a_training_begins_with_inherited_weights(tmp_path: Path, supernet: Path) -> None:
    options: dict[str, Any] = {"flags": {"max_epochs": 1, "limit_train_batches": 1}}
    slow = short_runs.supernet_module(SPACE, optimizer=lambda params: torch.optim.SGD(params, lr=1e-9))
    result = retrain(tmp_path, inherit=str(supernet), model=slow, **options)
    assert result["inherited"] == str(supernet)
    trained = checkpoint.load_supernet(supernet).extract(SPACE.decode("1-1-2")).state_dict()
    found = weights(tmp_path)
    for name, weight in trained.items():
        torch.testing.assert_close(found[f"network.{name}"], weight, rtol=1e-4, atol=1e-6)


def test_another_space_is_not_inherited(tmp_path: Path, supernet: Path) -> None:
    wide = short_runs.supernet_module(Pooling(blocks=(1, 1, 1), channels=(2, 4, 4)))
    with pytest.raises(NASError, match=re.escape("trained with channels [2, 2, 4], but model.space has")):
        retrain(tmp_path, inherit=str(supernet), model=wide)
    assert not list(tmp_path.iterdir())


def test_the_best_of_random_networks_is_the_one_that_validates_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = retrain(tmp_path, arch="random", number=3, flags={"max_epochs": 1})
    alone = [json.loads((tmp_path / f"network_0{i}" / "retrain.json").read_text()) for i in range(3)]
    assert result["networks"] == alone
    assert len({network["arch"] for network in alone}) == 3
    assert result["val/accuracy"] == max(network["val/accuracy"] for network in alone)
    assert result["arch"] in [n["arch"] for n in alone if n["val/accuracy"] == result["val/accuracy"]]
    assert f"best of 3 random networks: {result['arch']}: validation" in capsys.readouterr().out


def test_a_random_architecture_follows_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number, seed in enumerate("0012345"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        flags = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1}
        found.append(retrain(tmp_path / str(number), arch="random", flags=flags)["arch"])
    assert found[0] == found[1]
    assert len(set(found)) > 1


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch, of one network."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_before_backward(self, trainer: Trainer, *_: Any) -> None:
        if Path(trainer.default_root_dir).name == self.folder and trainer.global_step == 5:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_training_continues_exactly(tmp_path: Path) -> None:
    tricks = Tricks(mixup=0.3, ema=0.5)
    straight = retrain(tmp_path / "straight", tricks=tricks)
    with pytest.raises(SystemExit):
        retrain(tmp_path / "cut", Interrupt("cut"), tricks=tricks)
    assert not (tmp_path / "cut" / "retrain.json").exists()
    with pytest.raises(NASError, match=r"already holds a retraining: continue it \(--ckpt_path last\)"):
        retrain(tmp_path / "cut", tricks=tricks)
    # Another time, when it is finished: its averaged weights are scored again.
    for _ in range(2):
        assert retrain(tmp_path / "cut", tricks=tricks, ckpt_path="last") == straight
    short_runs.assert_same(weights(tmp_path / "cut"), weights(tmp_path / "straight"))
    assert short_runs.metrics(tmp_path / "cut") == short_runs.metrics(tmp_path / "straight")


def test_an_interrupted_baseline_continues_with_the_network_at_which_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"arch": "random", "number": 3, "flags": {"max_epochs": 2}}
    straight = retrain(tmp_path / "straight", **options)
    with pytest.raises(SystemExit):
        retrain(tmp_path / "cut", Interrupt("network_01"), **options)
    fitted = []
    fit = Trainer.fit

    def spy(self: Trainer, *args: Any, **kwargs: Any) -> None:
        fitted.append((Path(self.default_root_dir).name, kwargs["ckpt_path"] is not None))
        fit(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", spy)
    assert retrain(tmp_path / "cut", ckpt_path="last", **options) == straight
    assert fitted == [("network_01", True), ("network_02", False)]


def test_callbacks_of_supernets_are_left_out_and_others_are_kept(tmp_path: Path) -> None:
    stop = EarlyStopping("val/accuracy", patience=1, min_delta=100)
    checkpoints = RunCheckpoint(every_n_train_steps=1)
    result = retrain(tmp_path, UniformSampler(), CaLR(), stop, checkpoints)
    assert result["settings"]["steps"] == 8
    assert stop.stopped_epoch == 0  # a copy was used


def test_nothing_is_written_by_a_development_run(tmp_path: Path) -> None:
    trainer = short_runs.trainer(tmp_path, fast_dev_run=1)
    trainer.retrain(
        short_runs.supernet_module(SPACE), short_runs.digits(), arch="1-1-2", tricks=Tricks(ema=0.9)
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 0}, "number is 0: valid is 1, and with arch 'random' any larger one"),
        ({"number": 2}, "number is 2: valid is 1, and with arch 'random' any larger one"),
        ({"arch": "random", "number": 99}, "number is 99, but the space has 3 architectures"),
        ({"arch": "random", "number": 2, "ckpt_path": "a.ckpt"}, "ckpt_path is 'a.ckpt', but number is 2"),
        ({"arch": "9-9-9"}, "9-9-9"),
        ({"arch": "search.json"}, "arch is 'search.json', but there is no such file"),
        ({"inherit": "nowhere.ckpt"}, "inherit is 'nowhere.ckpt', but there is no such file"),
        ({"ckpt_path": "last"}, "ckpt_path is 'last', but there is no"),
        (
            {"tricks": Tricks(drop_path=0.2)},
            "tricks.drop_path is not 0, but the networks of this space have none",
        ),
        (
            {"tricks": Tricks(auxiliary=0.4)},
            "tricks.auxiliary is not 0, but the networks of this space have none",
        ),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=re.escape(message)):
        retrain(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_the_run_of_a_supernet_is_not_written_over(supernet: Path) -> None:
    before = {file: file.read_bytes() for file in supernet.parent.rglob("*") if file.is_file()}
    for ckpt_path in (None, "last"):
        with pytest.raises(
            NASError, match="holds the run of a supernet: give the networks trained alone another"
        ):
            retrain(supernet.parent, ckpt_path=ckpt_path)
    assert {file: file.read_bytes() for file in supernet.parent.rglob("*") if file.is_file()} == before
