"""One sampler of every kind, for the tests that all of them must pass. A new sampler is a new entry.

Runs are those of ``short_runs``: 3 epochs of 4 batches on the toy space. What a method does after its warm-up must
happen before step 7, where runs are interrupted.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_nas.optim.calr import CaLR
from lightning_nas.optim.momentum_separation import MomentumSeparation, MomentumSeparationSGD
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

PROTOTYPES: dict[str, Any] = {"warmup_steps": 3, "probe_size": 16, "prototypes": 3, "rate": 0.01}


@dataclass(frozen=True)
class SamplerCase:
    """How a sampler is tested.

    Attributes:
        make: Makes it.
        flags: What the Trainer is given beside it.
        companions: Makes the callbacks that it needs beside it.
        options: What the SupernetModule is given beside the space.
    """

    make: Callable[[], PathSampler]
    flags: dict[str, Any] = field(default_factory=dict)
    companions: Callable[[], list[Any]] = list
    options: dict[str, Any] = field(default_factory=dict)


def example() -> PathSampler:
    """The sampler of ``docs/add-a-sampler.md``."""
    folder = str(Path(__file__).parents[1] / "examples")
    if folder not in sys.path:
        sys.path.append(folder)
    made = importlib.import_module("hard_choices").HardChoices(rate=0.3)
    assert isinstance(made, PathSampler)
    return made


def separated_sgd(params: Any) -> MomentumSeparationSGD:
    return MomentumSeparationSGD(params, lr=0.1, nesterov=True, weight_decay=1e-3)


def calr(**options: Any) -> list[Any]:
    # Multiply-adds, for the paths of Pooling have the same parameters.
    return [CaLR(complexity="macs", **options)]


SAMPLERS: dict[str, SamplerCase] = {
    "uniform": SamplerCase(lambda: UniformSampler(paths=2)),
    # The toy space and Pooling have paths in the first bin, and only Pooling in the second: tries run out.
    "uniform_window": SamplerCase(lambda: UniformSampler(paths=2, window=(300, 20_000), bins=2, tries=2)),
    "fair": SamplerCase(FairSampler),
    "fair_dealt": SamplerCase(lambda: FairSampler(paths=2)),
    "deisomorphic": SamplerCase(lambda: DeisomorphicSampler(paths=2)),
    "deisomorphic_lazy": SamplerCase(lambda: DeisomorphicSampler(mode="lazy", tries=2)),
    "complexity": SamplerCase(lambda: ComplexitySampler(paths=2)),
    "density": SamplerCase(lambda: DensitySampler(tau=0.5, warmup_steps=6, probe_size=16)),
    "density_refreshed": SamplerCase(
        lambda: DensitySampler(target_ess=0.5, warmup_steps=3, probe_size=16, refresh_every=1, paths=2)
    ),
    "prototype_density": SamplerCase(lambda: PrototypeDensitySampler(tau=0.5, **PROTOTYPES)),
    "prototype_density_pool": SamplerCase(
        lambda: PrototypeDensitySampler(refresh_every=3, target_accept_rate=0.3, pool_size=8, **PROTOTYPES)
    ),
    "prototype_density_skip": SamplerCase(
        lambda: PrototypeDensitySampler(
            on_rejection="skip", estimator="mean_vector", representation="cka", **PROTOTYPES
        )
    ),
    "prototype_density_weight": SamplerCase(
        lambda: PrototypeDensitySampler(
            on_rejection="weight",
            prototype_weight="mass",
            beta="inverse",
            representation="gradient_concat",
            **PROTOTYPES,
        )
    ),
    "calr": SamplerCase(UniformSampler, companions=calr, options={"schedule": "constant"}),
    "calr_fair": SamplerCase(FairSampler, companions=calr, options={"schedule": "constant"}),
    "calr_released": SamplerCase(
        lambda: UniformSampler(paths=2),
        companions=lambda: calr(several_paths="released"),
        options={"schedule": "constant"},
    ),
    "momentum_separation": SamplerCase(
        UniformSampler,
        {"accumulate_grad_batches": 1},
        lambda: [MomentumSeparation()],
        {"optimizer": separated_sgd},
    ),
    "calr_momentum_separation_fair": SamplerCase(
        lambda: FairSampler(same_choice_at=0),
        {"accumulate_grad_batches": 1},
        lambda: [*calr(), MomentumSeparation()],
        {"optimizer": separated_sgd, "schedule": "constant", "inactive_params": "coast"},
    ),
    "example": SamplerCase(example),
    "path_importance": SamplerCase(lambda: PathImportanceSampler(schedule="falling")),
    "path_importance_step": SamplerCase(
        lambda: PathImportanceSampler(
            granularity="decision",
            accumulate="mean",
            capture="pre_clip",
            param_free="mean",
            schedule="constant",
            delta=0.9,
            floor=0.01,
            update="step",
            paths=2,
        ),
        {"gradient_clip_val": 0.5},
    ),
    "data_importance": SamplerCase(
        lambda: UniformSampler(paths=2),
        companions=lambda: [DataImportanceSampler(schedule="falling", unseen="keep")],
    ),
    "pada": SamplerCase(PathImportanceSampler, companions=lambda: [DataImportanceSampler()]),
    "evolution": SamplerCase(lambda: _evolution("score")),
    "evolution_pareto": SamplerCase(lambda: _evolution("pareto")),
}


def _evolution(select: Literal["score", "pareto"]) -> EvolutionSampler:
    """Generations at steps 4 and 8."""
    return EvolutionSampler(
        warmup_epochs=1, every_n_epochs=1, population_size=3, num_candidates=6, select=select, num_images=30
    )
