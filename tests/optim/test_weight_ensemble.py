from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.weight_ensemble import WeightEnsemble, average, average_weights
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NormPolicy, Pooling
from lightning_nas.trainer import NASTrainer

# 3 epochs of 4 batches: snapshots after 8, 10 and 12 steps.
ENSEMBLE = {"snapshots": 3, "spacing": 0.17}


def fit(root: Path, resume_from: Path | None = None, **flags: Any) -> SupernetModule:
    ensemble = WeightEnsemble(**ENSEMBLE)  # type: ignore[arg-type]
    return short_runs.fit(root, UniformSampler, ensemble, resume_from=resume_from, **flags)[0]


def weights(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


def test_means_are_summed_in_double_precision() -> None:
    states = [{"w": torch.tensor(value, dtype=torch.float32)} for value in (2.0**25, 1.0, 1.0, 1.0, 2.0)]
    assert float(average_weights(states)["w"]) == float(torch.tensor((2.0**25 + 5) / 5))
    half = [{"w": torch.tensor(60_000.0, dtype=torch.float16)}] * 3
    assert average_weights(half)["w"] == half[0]["w"]


def test_counts_are_those_of_the_newest() -> None:
    states = [{"w": torch.tensor([w]), "n": torch.tensor(n)} for w, n in ((1.0, 10), (3.0, 20))]
    short_runs.assert_same(average_weights(states), {"w": torch.tensor([2.0]), "n": torch.tensor(20)})


def test_a_run_writes_the_mean_of_its_last_weights(tmp_path: Path) -> None:
    fit(tmp_path)
    assert [file.name for file in sorted((tmp_path / "snapshots").iterdir())] == [
        f"step_{step:08d}.ckpt" for step in (8, 10, 12)
    ]
    # Those after steps 8 and 12 follow the validation, which leaves the weights alone.
    snapshots = [weights(tmp_path / f"{step:02d}.ckpt") for step in (8, 10, 12)]
    found = weights(tmp_path / "ensemble.ckpt")
    assert found.keys() == snapshots[0].keys()
    for name, value in found.items():
        expected = sum(snapshot[name].double() for snapshot in snapshots) / 3
        assert torch.equal(value, torch.as_tensor(expected).float())


def test_running_statistics_are_averaged_too(tmp_path: Path) -> None:
    space = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
    module = short_runs.supernet_module(space, norm=NormPolicy(running_stats=True))
    fit(tmp_path, module=module)
    name = next(name for name in module.state_dict() if name.endswith("running_var"))
    snapshots = [weights(tmp_path / f"{step:02d}.ckpt") for step in (8, 10, 12)]
    found = weights(tmp_path / "ensemble.ckpt")
    assert torch.equal(found[name], (sum(s[name].double() for s in snapshots) / 3).float())  # type: ignore[union-attr]
    count = name.replace("running_var", "num_batches_tracked")
    assert torch.equal(found[count], snapshots[-1][count])


def test_the_ensemble_is_scored_and_not_continued(tmp_path: Path) -> None:
    fit(tmp_path)
    file = tmp_path / "ensemble.ckpt"
    supernet = checkpoint.load_supernet(file)
    module = short_runs.supernet_module()
    trainer = short_runs.trainer(tmp_path, logger=False)
    trainer.validate(module, datamodule=short_runs.digits(), ckpt_path=file, verbose=False)
    short_runs.assert_same(module.supernet.state_dict(), supernet.state_dict())
    with pytest.raises(NASError, match="holds weights alone, such as an ensemble"):
        fit(tmp_path, resume_from=file)


@pytest.mark.slow
def test_a_resumed_run_writes_the_same(tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    fit(straight)
    whole = weights(straight / "ensemble.ckpt")
    for step in (7, 9, 11):
        (straight / "ensemble.ckpt").unlink()
        for snapshot in (straight / "snapshots").iterdir():
            if int(snapshot.stem.removeprefix("step_")) > step:
                snapshot.unlink()
        fit(straight, resume_from=straight / f"{step:02d}.ckpt")
        short_runs.assert_same(weights(straight / "ensemble.ckpt"), whole)


def test_accumulated_steps_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 steps of 2 batches."""
    saved: list[str] = []
    original = NASTrainer.save_checkpoint

    def save(trainer: Any, file: Path, *args: Any, **kwargs: Any) -> None:
        saved.append(Path(file).stem)
        original(trainer, file, *args, **kwargs)

    monkeypatch.setattr(NASTrainer, "save_checkpoint", save)
    fit(tmp_path, accumulate_grad_batches=2)
    assert [name for name in saved if name.startswith("step")] == [f"step_{step:08d}" for step in (4, 5, 6)]


def test_a_run_that_ends_early_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("lightning_nas.optim.weight_ensemble.rank_zero_warn", told.append)

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    ensemble = WeightEnsemble(snapshots=3, spacing=0.3)
    trainer = short_runs.trainer(tmp_path, UniformSampler(), ensemble, Stop(), min_epochs=1)
    trainer.fit(short_runs.supernet_module(), datamodule=short_runs.digits())
    assert not (tmp_path / "ensemble.ckpt").exists()
    assert told == [
        "no ensemble.ckpt is written: the run ended after step 4, and 1 of its 3 snapshots are there"
    ]


def test_files_that_cannot_be_averaged(tmp_path: Path) -> None:
    fit(tmp_path / "a", limit_val_batches=0)
    files = {step: tmp_path / "a" / f"{step:02d}.ckpt" for step in (8, 9)}
    with pytest.raises(NASError, match="at least 2 checkpoints, not 1"):
        average([files[8]])
    with pytest.raises(NASError, match="are both of step 8"):
        average([files[8], tmp_path / "a" / "snapshots" / "step_00000008.ckpt"])
    with pytest.raises(NASError, match="there is no such file"):
        average([files[8], tmp_path / "none.ckpt"])
    torch.save({"state_dict": {}, "global_step": 3}, tmp_path / "foreign.ckpt")
    with pytest.raises(NASError, match=r"foreign\.ckpt' was not written by lightning_nas"):
        average([files[8], tmp_path / "foreign.ckpt"])

    def changed(name: str, change: Any) -> Path:
        content = torch.load(files[9], weights_only=True)
        change(content)
        torch.save(content, tmp_path / name)
        return tmp_path / name

    def other_space(content: Any) -> None:
        content[checkpoint.KEY]["space"]["init_args"]["width"] = 5

    def other_seed(content: Any) -> None:
        content["callbacks"]["UniformSampler"]["seed"] = 1

    def other_keys(content: Any) -> None:
        content["state_dict"].popitem()

    with pytest.raises(NASError, match="are of different search spaces"):
        average([files[8], changed("space.ckpt", other_space)])
    with pytest.raises(NASError, match="are of different seeds"):
        average([files[8], changed("seed.ckpt", other_seed)])
    with pytest.raises(NASError, match="are of different weights"):
        average([files[8], changed("keys.ckpt", other_keys)])


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"WeightEnsemble\.snapshots is 1"):
        WeightEnsemble(snapshots=1)
    with pytest.raises(NASError, match=r"WeightEnsemble\.spacing is 1\.0"):
        WeightEnsemble(spacing=1.0)
    with pytest.raises(NASError, match="more than the 4 steps of the run"):
        short_runs.fit(tmp_path, UniformSampler, WeightEnsemble(spacing=0.3), max_epochs=1)
    module = short_runs.supernet_module(schedule="constant")
    with pytest.raises(NASError, match=r"but this one has none: set trainer\.max_epochs or"):
        short_runs.fit(tmp_path, UniformSampler, WeightEnsemble(), module=module, max_epochs=-1)
