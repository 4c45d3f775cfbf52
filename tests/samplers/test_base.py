from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from toy_space import Toy

from lightning_nas.data import DigitsDataModule
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import DensitySampler, PathImportanceSampler, PathSampler, UniformSampler
from lightning_nas.spaces import Path as Architecture


class Recorder(PathSampler):
    """Trains the paths in the order of the space and remembers the steps."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.steps: list[int] = []

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Architecture, ...]:
        self.steps.append(step)
        return (module.space[step % module.space.size],)


def fit(root: Path, *callbacks: Any, module: Any = None, **flags: Any) -> Trainer:
    trainer = Trainer(
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        max_epochs=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=list(callbacks),
        **flags,
    )
    trainer.fit(module or SupernetModule(Toy(layers=2)), datamodule=DigitsDataModule(batch_size=75, seed=0))
    return trainer


def test_steps_count_batches_over_epochs_and_accumulation(tmp_path: Path) -> None:
    sampler = Recorder()
    trainer = fit(tmp_path, sampler, accumulate_grad_batches=2)
    assert sampler.steps == list(range(8))
    assert trainer.global_step == 4


def test_visits_are_counted(tmp_path: Path) -> None:
    sampler = Recorder()
    fit(tmp_path, sampler)
    assert sampler.visits is not None
    assert sampler.visits.tolist() == [1] * 8 + [0]


def test_spaces_too_large_to_count_are_not_counted(tmp_path: Path) -> None:
    sampler = Recorder()
    fit(tmp_path, sampler, module=SupernetModule(Toy(layers=40)))
    assert sampler.visits is None


def test_choosing_paths_leaves_the_global_streams_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    module = SupernetModule(Toy(layers=2))
    after_building = torch.random.get_rng_state()
    fit(tmp_path, UniformSampler(), module=module)
    assert not torch.equal(before, after_building)
    assert torch.equal(after_building, torch.random.get_rng_state())


def test_two_samplers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="has 2 samplers"):
        fit(tmp_path, Recorder(), UniformSampler())


def test_another_kind_of_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="needs a SupernetModule, not a BoringModel"):
        fit(tmp_path, Recorder(), module=BoringModel())


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (PathImportanceSampler, {"accumulate": "average"}, "accumulate is 'average': valid are ema, mean"),
        (
            DensitySampler,
            {"representation": "logits"},
            "representation is 'logits': valid are functional, cka,",
        ),
        (UniformSampler, {"cost": "flops"}, "cost is 'flops': valid are macs, params"),
        (UniformSampler, {"seed": -1}, "seed is -1: valid are numbers from 0"),
    ],
)
def test_python_is_refused_what_the_command_line_is(sampler: Any, options: Any, message: str) -> None:
    with pytest.raises(NASError, match=rf"^sampler\.{message}"):
        sampler(**options)


@pytest.mark.filterwarnings("ignore:Be aware that when using")
def test_a_run_is_scored_but_not_continued_with_another_sampler(tmp_path: Path) -> None:
    short_runs.fit(tmp_path / "run", UniformSampler)
    checkpoint = tmp_path / "run" / "04.ckpt"
    with pytest.raises(NASError, match="trained with sampler UniformSampler, but now sampler is Recorder"):
        short_runs.fit(tmp_path / "continued", Recorder, resume_from=checkpoint)
    trainer = short_runs.trainer(tmp_path / "scored", Recorder())
    trainer.validate(
        short_runs.supernet_module(), short_runs.digits(), ckpt_path=str(checkpoint), verbose=False
    )


def test_a_checkpoint_of_another_seed_is_refused() -> None:
    sampler = Recorder(seed=1)
    with pytest.raises(NASError, match="trained with seed_everything 2, but now seed_everything is 1"):
        sampler.load_state_dict({"seed": 2, "options": {}, "visits": None})
