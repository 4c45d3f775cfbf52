"""Mixed precision: what is trained, measured and scored under ``bf16-mixed`` and ``16-mixed``.

Lightning's flag ``16-mixed`` is for GPUs. The same plugin, autocast and gradient scaler run on a CPU, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from lightning_nas.callbacks import GradientVariance
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import (
    DataImportanceSampler,
    DensitySampler,
    PathImportanceSampler,
    PathSampler,
    PrototypeDensitySampler,
    UniformSampler,
)
from lightning_nas.spaces import NASBench201, Pooling, SearchSpace
from lightning_nas.spaces import Path as Architecture

SPACES: dict[str, SearchSpace] = {
    "toy": short_runs.SMALL,
    "pooling": Pooling(blocks=(1, 1, 1), channels=(4, 4, 6)),
    "nasbench201": NASBench201(channels=4, cells=1),
}
SEVERAL: dict[str, Any] = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
TOO_LARGE = 1e30
# torch warns of a rate that moves before the first step, which here was skipped.
FIRST_STEP_SKIPPED = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def half(scale: float = 2.0**10, **options: Any) -> dict[str, Any]:
    """The flags of ``16-mixed`` on a CPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, **options)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


def bf16(scale: float | None = None) -> dict[str, Any]:
    """Those of ``bf16-mixed``, with a scaler that it does not need."""
    if scale is None:
        return {"precision": "bf16-mixed"}
    plugin = MixedPrecision("bf16-mixed", "cpu")
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return {"plugins": [plugin]}


PRECISIONS: dict[str, Callable[[], dict[str, Any]]] = {"bf16": bf16, "half": half}


def train(root: Path, *callbacks: Any, module: SupernetModule | None = None, **flags: Any) -> SupernetModule:
    module = module or short_runs.supernet_module()
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False, **flags}
    short_runs.trainer(root, *callbacks, **options).fit(module, datamodule=short_runs.digits())
    return module


class Fixed(PathSampler):
    def __init__(self, *paths: Architecture) -> None:
        super().__init__(seed=0)
        self.paths = paths

    def choose(self, *_: Any) -> tuple[Architecture, ...]:
        return self.paths


class Gradients(Callback):
    """Of every step, as the optimizer saw them."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor | None]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.seen.append(
            {n: None if p.grad is None else p.grad.clone() for n, p in pl_module.named_parameters()}
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_equals_a_plain_loop(tmp_path: Path, precision: str) -> None:
    """Several paths per step, clipped and accumulated, against one summed loss per batch."""
    module, plain = (short_runs.supernet_module(schedule="constant") for _ in range(2))
    paths = ((1, 2), (2, 0), (1, 1))
    train(tmp_path, Fixed(*paths), module=module, max_epochs=1, **SEVERAL, **PRECISIONS[precision]())
    batches = list(short_runs.digits().train_dataloader())
    optimizer = SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for first in (0, 2):
        optimizer.zero_grad()
        for x, y, _ in batches[first : first + 2]:
            with torch.autocast("cpu", torch.bfloat16 if precision == "bf16" else torch.float16):
                losses = [F.cross_entropy(plain(x, path), y) for path in paths]
            (torch.stack(losses).sum() / 6 * 2**10).backward()
        for parameter in plain.parameters():
            if parameter.grad is not None:
                parameter.grad /= 2**10
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
    for a, b in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("space", SPACES)
def test_earlier_paths_of_a_step_train_as_the_last_does(tmp_path: Path, space: str, precision: str) -> None:
    """Their backward pass runs within autocast, and with casts of weights that the paths share."""
    path = SPACES[space].sample(np.random.default_rng(0))
    gradients = []
    for paths, scale in ((1, 2.0**10), (2, 2.0**11)):  # which halves of a loss undo
        watched = Gradients()
        flags = bf16() if precision == "bf16" else half(scale)
        module = short_runs.supernet_module(SPACES[space])
        train(tmp_path / str(paths), Fixed(*(path,) * paths), watched, module=module, max_steps=1, **flags)
        gradients.append(watched.seen[0])
    assert any(gradient is not None and gradient.any() for gradient in gradients[0].values())
    short_runs.assert_same(*gradients)


def test_a_gradient_scaler_changes_nothing(tmp_path: Path) -> None:
    """With powers of two, which divide out exactly."""
    states = []
    for flags in (bf16(), bf16(scale=2.0**10)):
        states.append(train(tmp_path, UniformSampler(paths=3, seed=0), **SEVERAL, **flags).state_dict())
    assert flags["plugins"][0].scaler.get_scale() == 2.0**10
    short_runs.assert_same(*states)


@pytest.mark.parametrize("capture", ["pre_clip", "post_clip"])
def test_path_importance_is_that_of_gradients_without_their_scale(tmp_path: Path, capture: Any) -> None:
    found = []
    for flags in ({}, half(2.0**4), half(2.0**12), bf16()):
        sampler = PathImportanceSampler("decision", "mean", capture=capture, paths=2, seed=0)
        train(tmp_path, sampler, max_epochs=1, **SEVERAL, **flags)
        assert sampler.importance is not None
        assert sampler.importance.min() > 0
        found.append(sampler.importance)
    exact, small, large, brain = found
    torch.testing.assert_close(small, exact, rtol=5e-3, atol=0)
    torch.testing.assert_close(large, exact, rtol=5e-3, atol=0)
    torch.testing.assert_close(brain, exact, rtol=5e-2, atol=0)


def test_gradient_variance_is_that_of_gradients_without_their_scale(tmp_path: Path) -> None:
    values = []
    for flags in ({}, half(2.0**4), half(2.0**12)):
        watched = GradientVariance()
        train(tmp_path, UniformSampler(paths=2, seed=0), watched, max_epochs=1, **SEVERAL, **flags)
        values.append(watched.history[1])
    np.testing.assert_allclose(values[1:], values[0], rtol=1e-2)


def test_data_importance_does_not_know_the_scale(tmp_path: Path) -> None:
    found = []
    for flags in ({}, half(2.0**4), half(2.0**12), bf16()):
        images = DataImportanceSampler(seed=0)
        train(tmp_path, UniformSampler(paths=2, seed=0), images, max_epochs=2, **SEVERAL, **flags)
        assert images.importance is not None
        assert images.importance.dtype == torch.float64
        found.append(images.importance)
    exact, small, large, brain = found
    torch.testing.assert_close(small, exact, rtol=5e-3, atol=1e-4)
    torch.testing.assert_close(large, exact, rtol=5e-3, atol=1e-4)
    torch.testing.assert_close(brain, exact, rtol=5e-2, atol=1e-2)


@FIRST_STEP_SKIPPED
@pytest.mark.parametrize("capture", ["pre_clip", "post_clip"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_step_that_overflows_teaches_nothing(tmp_path: Path, capture: Any, clip: float | None) -> None:
    module, untrained = short_runs.supernet_module(), short_runs.supernet_module()
    sampler = PathImportanceSampler(capture=capture, update="step", schedule="constant", seed=0)
    watched = [GradientVariance(source="gradient"), GradientVariance(source="momentum")]
    flags: dict[str, Any] = {"gradient_clip_val": clip, "max_steps": 4, "max_epochs": -1}
    train(tmp_path, sampler, *watched, module=module, **flags, **half(TOO_LARGE, backoff_factor=0.5))
    short_runs.assert_same(module.state_dict(), untrained.state_dict())
    assert sampler.importance is not None
    assert sampler.count is not None
    assert not sampler.importance.any()
    assert not sampler.count.any()
    assert [one.history for one in watched] == [{}, {}]


@FIRST_STEP_SKIPPED
def test_a_run_that_begins_with_an_overflow_goes_on(tmp_path: Path) -> None:
    sampler, images = PathImportanceSampler(seed=0), DataImportanceSampler(seed=0)
    watched = [GradientVariance(source="gradient"), GradientVariance(source="momentum")]
    flags = half(2.0**60, backoff_factor=2.0**-20)
    module = train(tmp_path, sampler, images, *watched, **flags)
    assert flags["plugins"][0].scaler.get_scale() < 2.0**60
    for measured in (sampler.importance, sampler.probabilities, images.importance, *module.parameters()):
        assert measured is not None
        assert measured.isfinite().all()
    assert sampler.importance is not None
    assert sampler.importance.all()
    assert all(np.isfinite(value) for one in watched for value in one.history.values())


def density(representation: Any) -> DensitySampler:
    return DensitySampler(representation=representation, warmup_steps=1, probe_size=16, seed=0)


def prototypes(representation: Any) -> PrototypeDensitySampler:
    return PrototypeDensitySampler(
        prototypes=2, representation=representation, rate=0.01, warmup_steps=1, probe_size=16, seed=0
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("representation", ["functional", "cka", "gradient_concat"])
@pytest.mark.parametrize("make", [density, prototypes])
def test_densities_are_those_of_single_precision(
    tmp_path: Path, make: Callable[[Any], PathSampler], representation: str, precision: str
) -> None:
    """To the last bit, of weights that do not move."""
    states = []
    for flags in ({}, PRECISIONS[precision]()):
        sampler = make(representation)
        still = short_runs.supernet_module(
            SPACES["pooling"], optimizer=lambda params: SGD(params, lr=0.0), schedule="constant"
        )
        train(tmp_path, sampler, module=still, max_epochs=1, **flags)
        states.append({name: getattr(sampler, name) for name in sampler.state})
    short_runs.assert_same(*states)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_losses_of_paths_are_added_up_in_double_precision(tmp_path: Path, precision: str) -> None:
    module = short_runs.supernet_module()
    flags = PRECISIONS[precision]()
    trainer = short_runs.trainer(tmp_path, logger=False, enable_checkpointing=False, **flags)
    trainer.validate(module, datamodule=short_runs.digits(), verbose=False)
    scores = module.evaluator.scores()
    [(images, labels, *_)] = short_runs.digits().val_dataloader()
    for path, loss, accuracy in zip(module.eval_paths, scores.loss, scores.accuracy, strict=True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16 if precision == "bf16" else torch.float16):
            logits = module(images, path)
        assert logits.dtype != torch.float32
        expected = F.cross_entropy(logits.double(), labels)
        assert loss == pytest.approx(float(expected), rel=1e-6)
        assert accuracy == 100 * float((logits.argmax(1) == labels).double().mean())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_channels_last_hardly_changes_the_result(tmp_path: Path, precision: str) -> None:
    losses = []
    for channels_last in (False, True):
        module = short_runs.supernet_module(SPACES["pooling"], channels_last=channels_last)
        root = tmp_path / str(channels_last)
        flags = PRECISIONS[precision]()
        trainer = short_runs.trainer(root, UniformSampler(paths=2, seed=0), **SEVERAL, **flags)
        trainer.fit(module, datamodule=short_runs.digits())
        losses.append(module.evaluator.scores().loss)
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


@FIRST_STEP_SKIPPED
def test_a_run_continues_with_the_scale_it_had(tmp_path: Path) -> None:
    """The scale overflows at first and then grows by thirds, so that gradients are rounded otherwise at every scale."""

    def run(name: str, resume_from: Path | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        flags = half(2.0**40, growth_interval=3, growth_factor=4 / 3, backoff_factor=2.0**-10)
        module, sampler = short_runs.fit(
            tmp_path / name,
            lambda: PathImportanceSampler(paths=2, seed=0),
            resume_from=resume_from,
            gradient_clip_val=0.5,
            **flags,
        )
        scaler = flags["plugins"][0].scaler
        return {"weights": module.state_dict(), "sampler": sampler.state_dict()}, scaler.state_dict()

    straight, scale = run("straight")
    assert scale["scale"] not in (2.0**40, 2.0**30, 2.0**20, 2.0**10)
    checkpoints = sorted((tmp_path / "straight").glob("*.ckpt"))
    for checkpoint in (checkpoints[1], checkpoints[6]):
        twin, twin_scale = run(checkpoint.stem, checkpoint)
        short_runs.assert_same(twin, straight)
        assert twin_scale == scale
