"""What every sampler must hold: see ``sampler_cases``."""

import hashlib
import pickle
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from sampler_cases import SAMPLERS
from space_checks import CONFIGS as SPACE_CONFIGS
from space_checks import small_space
from torch import nn
from toy_space import Toy

import lightning_nas.samplers
from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import DataSampler, PathSampler
from lightning_nas.spaces import ListedSpace, NASBenchMacro, Pooling, SearchSpace

SPACES = sorted(SPACE_CONFIGS.glob("*_small.yaml"))
CASES = pytest.mark.parametrize("name", SAMPLERS)


def fingerprint(module: nn.Module) -> str:
    """Global random states, and the weights, buffers, gradients and modes of a network."""
    digest = hashlib.sha256()
    for state in (torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()):  # noqa: NPY002
        digest.update(pickle.dumps(state))
    for tensor in [*module.parameters(), *module.buffers()]:
        digest.update(tensor.detach().numpy().tobytes())
        digest.update(b"none" if tensor.grad is None else tensor.grad.numpy().tobytes())
    digest.update(bytes(part.training for part in module.modules()))
    return digest.hexdigest()


class Watch:
    """Compares fingerprints around every choice of a sampler."""

    def __init__(self, sampler: PathSampler) -> None:
        self.choose = sampler.choose
        self.calls = 0

    def __call__(self, trainer: Trainer, module: SupernetModule, step: int) -> Any:
        before = fingerprint(module)
        paths = self.choose(trainer, module, step)
        assert fingerprint(module) == before, f"step {step}"
        self.calls += 1
        return paths


@CASES
@pytest.mark.parametrize(
    "space", [Toy(layers=2), Pooling(blocks=(2, 2, 2), channels=(2, 2, 4))], ids=["toy", "pooling"]
)
def test_choosing_leaves_random_streams_and_network_alone(
    name: str, space: SearchSpace, tmp_path: Path
) -> None:
    """Gradients are there when the second batch of a window is chosen for."""
    case = SAMPLERS[name]
    sampler = case.make()
    watch = Watch(sampler)
    sampler.choose = watch  # type: ignore[method-assign]
    flags = {"accumulate_grad_batches": 2, "limit_val_batches": 0, "logger": False, **case.flags}
    trainer = short_runs.trainer(tmp_path, sampler, *case.companions(), **flags)
    trainer.fit(short_runs.supernet_module(space, **case.options), datamodule=short_runs.digits())
    assert watch.calls == 12


class Observer(Callback):
    """Fingerprints before and after all other callbacks have seen the end of a batch."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.seen.append(fingerprint(pl_module))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.seen.append(fingerprint(pl_module))


@CASES
def test_observing_leaves_random_streams_and_network_alone(name: str, tmp_path: Path) -> None:
    case, first, last = SAMPLERS[name], Observer(), Observer()
    flags = {"limit_val_batches": 0, "logger": False, **case.flags}
    trainer = short_runs.trainer(tmp_path, first, case.make(), *case.companions(), last, **flags)
    trainer.fit(short_runs.supernet_module(**case.options), datamodule=short_runs.digits())
    assert len(first.seen) == 24
    assert first.seen == last.seen


@CASES
def test_every_state_loads_without_pickle(name: str, tmp_path: Path) -> None:
    case = SAMPLERS[name]
    sampler = case.make()
    trainer = short_runs.trainer(tmp_path, sampler, *case.companions(), limit_val_batches=0, **case.flags)
    trainer.fit(short_runs.supernet_module(**case.options), datamodule=short_runs.digits())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    state = sampler.state_dict()
    short_runs.assert_same(saved[sampler.state_key], state)
    assert set(sampler.state) <= state.keys()


@CASES
def test_a_run_is_validated_with_its_sampler(name: str, tmp_path: Path) -> None:
    """As ``validate`` does with the configuration of the run: callbacks are restored, and have nothing to do."""
    case = SAMPLERS[name]
    flags = {"limit_val_batches": 0, **case.flags}
    trainer = short_runs.trainer(tmp_path, case.make(), *case.companions(), **flags)
    module = short_runs.supernet_module(**case.options)
    trainer.fit(module, datamodule=short_runs.digits())
    again, twin = case.make(), short_runs.supernet_module(**case.options)
    validation = short_runs.trainer(tmp_path, again, *case.companions(), **case.flags)
    data = short_runs.digits()
    validation.validate(twin, datamodule=data, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    short_runs.assert_same(twin.state_dict(), module.state_dict())


def test_no_sampler_is_left_out() -> None:
    exported = {getattr(lightning_nas.samplers, name) for name in lightning_nas.samplers.__all__}
    samplers = {
        cls for cls in exported if isinstance(cls, type) and issubclass(cls, PathSampler | DataSampler)
    }
    tested = {type(one) for case in SAMPLERS.values() for one in (case.make(), *case.companions())}
    assert tested >= samplers - {PathSampler, DataSampler}


def refusal(name: str, space: SearchSpace) -> str | None:
    """What a sampler says, before anything is trained, of a space that it cannot work on; None where it works."""
    whole_product = space.is_product
    if "fair" in name and not whole_product:
        return "combines all choices with each other"
    if name == "calr_momentum_separation_fair" and len(space.choices[0]) == 1:
        return r"clusters: .* or FairSampler with sampler\.same_choice_at 1$"
    if name.startswith("path_importance") or name == "pada":
        return None if whole_product else "draws decisions one by one"
    if name.startswith("deisomorphic") and "lazy" not in name and space.size > ENUMERABLE:
        return "valid is 'lazy'"
    if name.startswith("density") and space.size > ENUMERABLE:
        return "PrototypeDensitySampler"
    if name == "uniform_window":
        return None if isinstance(space, NASBenchMacro) else "accepts none of"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem.removesuffix("_small"))
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "example"])
def test_every_space_is_sampled_or_refused(name: str, file: Path, tmp_path: Path) -> None:
    """8 steps of 2 epochs; the window of costs is that of the toy space, which hardly any other reaches."""
    case, space = SAMPLERS[name], small_space(file)
    if name.startswith("density") and space.size <= ENUMERABLE:
        space = ListedSpace(space, select_paths(space, 40))
    expected = refusal(name, space)
    flags = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 0, "enable_checkpointing": False}
    sampler = case.make()
    trainer = short_runs.trainer(
        tmp_path, sampler, *case.companions(), **{**flags, "logger": False, **case.flags}
    )
    data = short_runs.digits(batch_size=16)
    with pytest.raises(NASError, match=expected) if expected else nullcontext():
        trainer.fit(short_runs.supernet_module(space, **case.options), datamodule=data)
    assert trainer.global_step == (0 if expected else 8)
    # What loses batches has trained its warm-up at least.
    trained = 3 if name == "prototype_density_skip" else 8
    assert int(sampler.choice_visits[0].sum()) >= (0 if expected else trained)
