"""What can be combined is, for a few steps each; what cannot is refused by name before anything is trained."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer
from sampler_cases import PROTOTYPES, separated_sgd
from torch.optim import SGD

from lightning_nas.callbacks import (
    Forgetting,
    GradientSimilarity,
    GradientVariance,
    LossPlateau,
    SamplingStatistics,
    Trainability,
)
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.calr import CaLR
from lightning_nas.optim.momentum_separation import MomentumSeparation
from lightning_nas.optim.weight_ensemble import WeightEnsemble
from lightning_nas.samplers import (
    ComplexitySampler,
    DataImportanceSampler,
    DeisomorphicSampler,
    DensitySampler,
    EvolutionSampler,
    FairSampler,
    PathImportanceSampler,
    PathSampler,
    PrototypeDensitySampler,
    UniformSampler,
)

# What they learn in a warm-up they use before the last of 8 steps. One path per step, or several of one cluster.
SAMPLERS: dict[str, Callable[[], PathSampler]] = {
    "uniform": UniformSampler,
    "window": partial(UniformSampler, window=(300, 20_000), bins=2, tries=2),
    "fair": partial(FairSampler, same_choice_at=0),
    "deisomorphic": DeisomorphicSampler,
    "deisomorphic_lazy": partial(DeisomorphicSampler, mode="lazy"),
    "complexity": ComplexitySampler,
    "path_importance": PathImportanceSampler,
    "density": partial(DensitySampler, tau=0.5, warmup_steps=3, probe_size=16),
    "prototype_density": partial(PrototypeDensitySampler, **PROTOTYPES),
    "prototype_density_skip": partial(PrototypeDensitySampler, on_rejection="skip", **PROTOTYPES),
    "prototype_density_weight": partial(PrototypeDensitySampler, on_rejection="weight", **PROTOTYPES),
    "evolution": partial(
        EvolutionSampler,
        warmup_epochs=1,
        every_n_epochs=1,
        population_size=3,
        num_candidates=6,
        num_images=30,
    ),
}
HEED_TRAINING = ("path_importance", "density", "prototype", "evolution")
RATES: dict[str, Callable[[], list[Callback]]] = {
    "schedule": list,
    "calr": lambda: [CaLR()],
    "loss_plateau": lambda: [LossPlateau(patience=0)],
}
CONSTANT: dict[str, Any] = {"schedule": "constant"}


def fit(root: Path, module: SupernetModule, *callbacks: Any, **flags: Any) -> Trainer:
    """8 batches of 2 epochs."""
    bare = {"max_epochs": 2, "limit_val_batches": 0, "logger": False}
    trainer = short_runs.trainer(root, *callbacks, **{**bare, **flags})
    trainer.fit(module, datamodule=short_runs.digits())
    return trainer


@cache
def visits(name: str, accumulated: int, root: Path) -> torch.Tensor:
    """What a sampler trains on its own."""
    sampler = SAMPLERS[name]()
    fit(root, short_runs.supernet_module(), sampler, accumulate_grad_batches=accumulated)
    return sampler.choice_visits


# Momentum is shared over steps of one batch or of two, or separated.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "momentum"),
    [
        ("schedule", "separated"),
        ("calr", "separated"),
        ("calr", "accumulated"),
        ("loss_plateau", "shared"),
        ("loss_plateau", "separated"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_rates_momentum_images_and_diagnoses_go_together(
    tmp_path: Path, name: str, rate: str, momentum: str
) -> None:
    """All at once, so every two of them too. The sampler comes last, as on the command line."""
    separated, accumulated = momentum == "separated", 2 if momentum == "accumulated" else 1
    separation = [MomentumSeparation()] if separated else []
    images, sampler = DataImportanceSampler(schedule="constant"), SAMPLERS[name]()
    diagnoses = [SamplingStatistics(), GradientVariance(), GradientVariance("deviation", "momentum")]
    diagnoses += [GradientSimilarity(pairs=2, probe_size=16), Forgetting(steps=1, probe_size=20)]
    diagnoses += [Trainability(every_n_steps=2)]
    ensemble = WeightEnsemble(snapshots=2, spacing=0.3)
    rates = RATES[rate]()
    module = short_runs.supernet_module(
        optimizer=separated_sgd if separated else partial(SGD, lr=0.1, momentum=0.9),
        schedule="constant" if rates else "cosine",
    )
    callbacks = [*rates, *separation, *diagnoses, ensemble, images, sampler]
    trainer = fit(
        tmp_path / "run", module, *callbacks, accumulate_grad_batches=accumulated, gradient_clip_val=5
    )
    assert trainer.global_step == 8 / accumulated
    assert all(weight.isfinite().all() for weight in module.parameters())
    if not name.startswith(HEED_TRAINING):
        assert torch.equal(sampler.choice_visits, visits(name, accumulated, tmp_path / "alone"))
    assert images.order is not None
    assert len(images.order.unique()) < 200
    [optimizer] = trainer.optimizers
    if rate != "loss_plateau":
        assert optimizer.param_groups[0]["lr"] < 0.1
    if separated:
        clusters = {k for state in optimizer.state.values() for k in state["momentum_buffers"]}
        assert clusters == set(sampler.choice_visits[0].nonzero().flatten().tolist())


class OtherImages(DataImportanceSampler):
    """Lightning itself refuses two of one class."""


def both(name: str) -> list[Any]:
    return [SAMPLERS[name](), FairSampler()]


EXCLUDE_FAIRNESS = ("density", "prototype_density", "path_importance", "deisomorphic_lazy", "evolution")
REFUSED: dict[str, tuple[Callable[[], list[Any]], dict[str, Any], dict[str, Any], str]] = {
    **{
        f"{name} and fair": (
            partial(both, name),
            {},
            {},
            rf"the Trainer has 2 samplers \({type(SAMPLERS[name]()).__name__} and FairSampler\): a step has one",
        )
        for name in EXCLUDE_FAIRNESS
    },
    "two orders of images": (
        lambda: [UniformSampler(), DataImportanceSampler(), OtherImages()],
        {},
        {},
        "the Trainer has more than one data sampler: an epoch has one order",
    ),
    "images and overfitting": (
        lambda: [UniformSampler(), DataImportanceSampler()],
        {"overfit_batches": 2},
        {},
        r"trainer\.overfit_batches asks for the same images in every epoch, which DataImportanceSampler would",
    ),
    "CaLR and LossPlateau": (
        lambda: [UniformSampler(), CaLR(), LossPlateau()],
        {},
        CONSTANT,
        r"trainer\.callbacks has both LossPlateau and CaLR: only one of them can set the rate",
    ),
    "CaLR twice": (
        lambda: [UniformSampler(), CaLR(), CaLR(gamma_max=2)],
        {},
        CONSTANT,
        r"trainer\.callbacks has 2 CaLR: only one of them can set the rate",
    ),
    "CaLR and a schedule": (
        lambda: [UniformSampler(), CaLR()],
        {},
        {"schedule": "cosine"},
        r"CaLR sets the rate of a SupernetModule whose model\.schedule is 'constant'",
    ),
    "LossPlateau and a schedule": (
        lambda: [UniformSampler(), LossPlateau()],
        {},
        {"schedule": "linear"},
        r"LossPlateau sets the rate of a SupernetModule whose model\.schedule is 'constant'",
    ),
    "separation and accumulation": (
        lambda: [UniformSampler(), MomentumSeparation()],
        {"accumulate_grad_batches": 2},
        {"optimizer": separated_sgd},
        r"trainer\.accumulate_grad_batches is 2: MomentumSeparation needs 1",
    ),
    "separation and one momentum": (
        lambda: [UniformSampler(), MomentumSeparation()],
        {},
        {},
        r"MomentumSeparation is in trainer\.callbacks, but model\.optimizer is SGD",
    ),
    "separation and strict fairness": (
        lambda: [FairSampler(), MomentumSeparation()],
        {},
        {"optimizer": separated_sgd},
        r"are of 3 clusters: MomentumSeparation needs .* FairSampler with sampler\.same_choice_at",
    ),
    "separation and fairness elsewhere": (
        lambda: [FairSampler(same_choice_at=1), MomentumSeparation("first")],
        {},
        {"optimizer": separated_sgd},
        "are of 3 clusters: MomentumSeparation needs",
    ),
    "separation and several paths": (
        lambda: [UniformSampler(paths=9), MomentumSeparation()],
        {},
        {"optimizer": separated_sgd},
        "clusters: MomentumSeparation needs a sampler of one path per step",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_excludes_each_other_is_refused_by_name(tmp_path: Path, case: str) -> None:
    make, flags, options, message = REFUSED[case]
    module, untrained = short_runs.supernet_module(**options), short_runs.supernet_module(**options)
    with pytest.raises(NASError, match=message):
        fit(tmp_path, module, *make(), **flags)
    short_runs.assert_same(module.state_dict(), untrained.state_dict())
