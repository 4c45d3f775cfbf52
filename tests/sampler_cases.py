"""One sampler of every kind, for the tests that all of them must pass. A new sampler is a new entry.

Runs are those of ``short_runs``: 3 epochs of 4 batches on the toy space. What a method does after its warm-up must
happen before step 7, where runs are interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lightning_nas.samplers import DensitySampler, PathSampler, PrototypeDensitySampler, UniformSampler

PROTOTYPES: dict[str, Any] = {"warmup_steps": 3, "probe_size": 16, "prototypes": 3, "rate": 0.01}


@dataclass(frozen=True)
class SamplerCase:
    """How a sampler is tested.

    Attributes:
        make: Makes it.
        flags: What the Trainer is given beside it.
        companions: Makes the callbacks that it needs beside it.
    """

    make: Callable[[], PathSampler]
    flags: dict[str, Any] = field(default_factory=dict)
    companions: Callable[[], list[Any]] = list


SAMPLERS: dict[str, SamplerCase] = {
    "uniform": SamplerCase(lambda: UniformSampler(paths=2)),
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
}
