import warnings
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer

from lightning_nas.callbacks import PrototypeCallback
from lightning_nas.density import unit_representations
from lightning_nas.density.prototypes import spread, update
from lightning_nas.errors import NASError
from lightning_nas.samplers import PrototypeDensitySampler, UniformSampler

SMALL: dict[str, Any] = {
    "prototypes": 4,
    "pool_size": 12,
    "every": 2,
    "warmup_steps": 5,
    "probe_size": 16,
    "seed": 0,
}


class Twin(Callback):
    """The prototypes, updated by hand with the paths that were trained."""

    def __init__(self, watched: PrototypeCallback) -> None:
        self.watched, self.updates = watched, 0
        self.expected = torch.zeros(0)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        steps = trainer.global_step
        if steps == 5:
            self.expected = self.watched.centres
        elif steps > 5 and steps % 2 == 0:
            images, labels = trainer.datamodule.validation_images(self.watched.probe)  # type: ignore[attr-defined]
            for path in pl_module.paths:
                [y] = torch.from_numpy(unit_representations(pl_module.supernet, [path], images, labels))
                self.expected = update(self.expected, y, 0.1, "printed")
            self.updates += 1
        if steps >= 5:
            assert self.watched.centres.numpy() == pytest.approx(self.expected.numpy(), abs=1e-12)


def test_trained_paths_move_the_prototypes(tmp_path: Path) -> None:
    watched = PrototypeCallback(**SMALL)
    twin = Twin(watched)
    trainer = short_runs.trainer(tmp_path, UniformSampler(paths=2), watched, twin, limit_val_batches=0)
    module = short_runs.supernet_module()
    trainer.fit(module, datamodule=short_runs.digits())
    assert twin.updates == 4
    rows = short_runs.metrics(tmp_path)
    logged = [float(row["density/prototype_spread"]) for row in rows if row["density/prototype_spread"]]
    assert len(logged) == 8
    assert logged[0] == pytest.approx(watched.initial_spread)
    assert logged[-1] == pytest.approx(spread(watched.centres))
    y, centres = watched.points(trainer, module)
    assert (y.shape, centres.shape) == ((12, 160), (4, 160))
    assert [step for step, _ in watched.history] == [5, 6, 8, 10, 12]
    assert (tmp_path / "prototype_spread.csv").read_text().splitlines() == [
        "step,spread",
        *(f"{step},{value}" for step, value in watched.history),
    ]
    for name in ("prototype_spread", "prototype_map"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert torch.equal(watched.points(trainer, module)[0], y)
    assert y.norm(dim=1).numpy() == pytest.approx(1)


def test_a_resumed_run_continues_with_its_prototypes(tmp_path: Path) -> None:
    whole, rest = PrototypeCallback(**SMALL), PrototypeCallback(**SMALL)
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    short_runs.fit(straight, UniformSampler, whole)
    resumed.mkdir()
    short_runs.fit(resumed, UniformSampler, rest, resume_from=straight / "07.ckpt")
    short_runs.assert_same(rest.state_dict(), whole.state_dict())


def test_it_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    """Beside any sampler, even one with prototypes of its own."""

    def weights(root: Path, *callbacks: Callback) -> dict[str, Any]:
        sampler = PrototypeDensitySampler(prototypes=3, warmup_steps=3, probe_size=16, rate=0.01, seed=0)
        module = short_runs.supernet_module()
        trainer = short_runs.trainer(root, sampler, *callbacks, limit_val_batches=0)
        trainer.fit(module, datamodule=short_runs.digits())
        return dict(module.state_dict())

    alone, watched = weights(tmp_path / "alone"), weights(tmp_path / "watched", PrototypeCallback(**SMALL))
    short_runs.assert_same(alone, watched)


def test_a_collapse_is_said_once(tmp_path: Path) -> None:
    watched = PrototypeCallback(**{**SMALL, "rate": 1.0, "every": 1})
    trainer = short_runs.trainer(tmp_path, UniformSampler(), watched, limit_val_batches=0, max_epochs=10)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert sum("spread of the prototypes" in str(warning.message) for warning in seen) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, r"PrototypeCallback\.rate is 0\.0"),
        ({"prototypes": 0}, r"PrototypeCallback\.prototypes is 0"),
        ({"every": 0}, r"every is 0"),
        ({"warmup_steps": 0}, r"PrototypeCallback\.warmup_steps is 0: untrained paths all look alike"),
        ({"pool_size": 3}, r"PrototypeCallback\.pool_size is 3: valid are numbers from 4"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        PrototypeCallback(**{**SMALL, **options})


def test_another_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="PrototypeCallback needs a SupernetModule, not a LightningModule"):
        PrototypeCallback(**SMALL).setup(short_runs.trainer(tmp_path), LightningModule(), "fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"probe_size": 101},
            r"^PrototypeCallback\.probe_size is 101, but the validation split has 100 images",
        ),
        ({"warmup_steps": 12}, r"^PrototypeCallback\.warmup_steps is 12, but the whole run has 12 steps"),
    ],
)
def test_what_cannot_work_is_refused_before_a_step(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    trainer = short_runs.trainer(tmp_path, UniformSampler(), PrototypeCallback(**{**SMALL, **options}))
    with pytest.raises(NASError, match=message):
        trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert trainer.global_step == 0
