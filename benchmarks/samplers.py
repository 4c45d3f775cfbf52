"""What samplers and optimizers of supernets cost per training step, and how few images tell dense paths from sparse ones.

A sampler works in the hooks of its callback, so its overhead is the time of a step over that time without the hooks.
Both come from the same steps: samplers that prefer slow paths would look expensive otherwise. FairSampler, which
trains several paths per step, is compared with steps of one path instead.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.measure import Figure, parser, relative, report
from lightning_nas.data import DigitsDataModule
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.density import mean_distance
from lightning_nas.density.representation import batch_statistics, functional
from lightning_nas.module import SupernetModule
from lightning_nas.optim.calr import CaLR
from lightning_nas.optim.momentum_separation import MomentumSeparationSGD
from lightning_nas.optim.schedule import Schedule
from lightning_nas.plots import probe_fidelity, save
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import (
    DataImportanceSampler,
    DeisomorphicSampler,
    DensitySampler,
    FairSampler,
    PathImportanceSampler,
    PathSampler,
    PrototypeDensitySampler,
    UniformSampler,
)
from lightning_nas.spaces import NASBench201
from lightning_nas.trainer import NASTrainer

PROBE_SIZES = (16, 32, 64, 128)
REFERENCE = 256
AGES = (1, 10, 50, 100, 300)
CANDIDATES = 200


@dataclass(frozen=True)
class Setting:
    """A network and how long it is timed.

    Attributes:
        space: The search space.
        batch_size: Images per step.
        steps: Steps per epoch, which are timed together.
        epochs: Timed epochs; one more at first holds the start and warm-ups.
    """

    space: NASBench201
    batch_size: int
    steps: int
    epochs: int


class RandomImages(ResidentDataModule):
    """As many training images as an epoch takes, of the size of a space."""

    name = "random"

    def __init__(self, setting: Setting) -> None:
        super().__init__(
            setting.batch_size,
            100,
            crop_padding=0,
            flip=False,
            cutout=0,
            balanced=False,
            split_seed=0,
            seed=0,
        )
        space = setting.space
        self.num_classes, self.in_channels, self.image_size = (
            space.num_classes,
            space.in_channels,
            space.image_size,
        )
        self.num_train, self.num_val = setting.batch_size * setting.steps, 300

    def read_splits(self) -> RawSplits:
        """Random pixels."""
        rng = torch.Generator().manual_seed(0)

        def split(number: int) -> tuple[torch.Tensor, torch.Tensor]:
            shape = (number, self.in_channels, self.image_size, self.image_size)
            pixels = torch.randint(256, shape, generator=rng, dtype=torch.uint8)
            return pixels, torch.randint(self.num_classes, (number,), generator=rng)

        return RawSplits(split(self.num_train), split(self.num_val), split(100))


class Clock(Callback):
    """The seconds of every epoch, and those that other callbacks spent in their hooks."""

    HOOKS = (
        "on_train_epoch_start",
        "on_train_batch_start",
        "on_before_optimizer_step",
        "on_train_batch_end",
        "on_train_epoch_end",
    )

    def __init__(self, *timed: Callback) -> None:
        self.total: list[float] = []
        self.hooks: list[float] = []
        self._inside = 0.0
        self._begin = 0.0
        for callback in timed:
            for hook in self.HOOKS:
                if getattr(type(callback), hook) is not getattr(Callback, hook):
                    setattr(callback, hook, self._timed(getattr(callback, hook)))

    def _timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = perf_counter()
            answer = hook(*args, **options)
            self._inside += perf_counter() - start
            return answer

        return call

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins, before the other callbacks do."""
        self._begin, self._inside = perf_counter(), 0.0

    def end_epoch(self) -> None:
        """Notes what the epoch took."""
        self.total.append(perf_counter() - self._begin)
        self.hooks.append(self._inside)

    def overhead(self, name: str, steps: int) -> Figure:
        """Epoch by epoch but the first, the time of a step over that without the hooks."""
        total = [1e3 * seconds / steps for seconds in self.total[1:]]
        without = [1e3 * (a - b) / steps for a, b in zip(self.total, self.hooks, strict=True)][1:]
        return relative(f"{name}: step / without its hooks", total, without, "ms")


class End(Callback):
    """Ends the time of an epoch, after the other callbacks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes what the epoch took."""
        self.clock.end_epoch()


class Replay(PathSampler):
    """Trains given paths, one per step."""

    def __init__(self, paths: Sequence[tuple[int, ...]]) -> None:
        super().__init__(seed=0)
        self.paths = paths

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[tuple[int, ...], ...]:
        """The next one."""
        return (self.paths[step % len(self.paths)],)


def timed(
    setting: Setting, sampler: PathSampler, *companions: Callback, schedule: Schedule = "cosine"
) -> Clock:
    """Trains with a sampler, and the time of it."""
    torch.manual_seed(0)
    clock = Clock(sampler, *companions)
    module = SupernetModule(setting.space, schedule=schedule, channels_last=True)
    with tempfile.TemporaryDirectory() as root:
        trainer = NASTrainer(
            default_root_dir=root,
            callbacks=[clock, sampler, *companions, End(clock)],
            max_epochs=1 + setting.epochs,
            log_every_n_steps=50,
            limit_val_batches=0,
            gradient_clip_val=5,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )
        trainer.fit(module, datamodule=RandomImages(setting))
    return clock


def overheads(setting: Setting) -> list[Figure]:
    # The mean of the prototypes is all that a proposal needs, so their number costs nothing.
    few: dict[str, Any] = {"warmup_steps": 1, "prototypes": 10, "pool_size": 20, "seed": 0}
    # As many forward passes per step as a pool of 200 paths that is measured every 300 steps.
    pool: dict[str, Any] = {**few, "pool_size": 2 * setting.steps // 3, "refresh_every": setting.steps}
    spaced = PrototypeDensitySampler(**{**pool, "prototypes": min(10, pool["pool_size"])}, probe_size=64)
    cases: dict[str, tuple[PathSampler, *tuple[Callback, ...]]] = {
        "UniformSampler": (UniformSampler(seed=0),),
        "DeisomorphicSampler": (DeisomorphicSampler(seed=0),),
        "PathImportanceSampler": (PathImportanceSampler(seed=0),),
        "DataImportanceSampler": (UniformSampler(seed=0), DataImportanceSampler(seed=0)),
        # Densities of symbols are measured in no time, and drawing from them costs the same as from any others.
        "DensitySampler": (DensitySampler(warmup_steps=1, representation="encoding", seed=0),),
        "PrototypeDensitySampler": (PrototypeDensitySampler(**few),),
        "PrototypeDensitySampler.xv64": (PrototypeDensitySampler(**few, probe_size=64),),
        "PrototypeDensitySampler.pool": (spaced,),
    }
    return [timed(setting, *case).overhead(name, setting.steps) for name, case in cases.items()]


def fair_overhead(setting: Setting) -> Figure:
    """The time of a step of FairSampler, in steps of one path: the same paths are trained again one by one."""
    fair, paths = FairSampler(seed=0), list[tuple[int, ...]]()
    choose = fair.choose

    def recorded(trainer: Trainer, module: SupernetModule, step: int) -> tuple[tuple[int, ...], ...]:
        chosen = choose(trainer, module, step)
        paths.extend(chosen)
        return chosen

    fair.choose = recorded  # type: ignore[method-assign]
    together = timed(setting, fair).total
    number = max(setting.space.num_choices)
    epochs = number * (1 + setting.epochs) - 1
    apart = timed(replace(setting, epochs=epochs), Replay(paths)).total
    singles = [sum(apart[first : first + number]) / number for first in range(0, len(apart), number)]
    fair_ms, single_ms = (
        [1e3 * value / setting.steps for value in values[1:]] for values in (together, singles)
    )
    return relative("FairSampler: step / step of one path", fair_ms, single_ms, "ms")


def calr_overhead(setting: Setting) -> Figure:
    clock = timed(setting, UniformSampler(seed=0), CaLR(), schedule="constant")
    return clock.overhead("CaLR", setting.steps)


def separation_overhead(setting: Setting) -> Figure:
    """A training step with an optimizer of five clusters over one with torch's SGD, on the same gradients."""
    torch.manual_seed(0)
    space = setting.space
    supernet = space.build_supernet().to(memory_format=torch.channels_last)
    images = torch.randn(setting.batch_size, space.in_channels, space.image_size, space.image_size)
    images = images.contiguous(memory_format=torch.channels_last)
    plain = torch.optim.SGD(supernet.parameters(), lr=1e-6, momentum=0.9)
    separated = MomentumSeparationSGD(supernet.parameters(), lr=1e-6, momentum=0.9)
    rng = generator(0, Stream.SUBSET)
    separate_ms, alike_ms = [], []
    for _ in range(1 + setting.epochs):
        alike = separate = 0.0
        for _ in range(setting.steps):
            path = space.sample(rng)
            separated.cluster = path[0]
            plain.zero_grad()
            both = duration(lambda path=path: supernet(images, path).logsumexp(1).sum().backward())  # type: ignore[misc]
            alike += both + duration(plain.step)
            separate += both + duration(separated.step)
        separate_ms.append(1e3 * separate / setting.steps)
        alike_ms.append(1e3 * alike / setting.steps)
    return relative("MomentumSeparationSGD: step / torch's SGD", separate_ms[1:], alike_ms[1:], "ms")


# -------------------------------------------------------------------------------- probes of densities


class Snapshots(Callback):
    """Representations of the candidates at chosen steps of a training."""

    def __init__(self, candidates: Sequence[tuple[int, ...]], steps: Sequence[int]) -> None:
        self.candidates = candidates
        self.steps = steps
        self.taken: dict[int, NDArray[np.float32]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Takes one."""
        if trainer.global_step in self.steps:
            assert isinstance(pl_module, SupernetModule)
            data: DigitsDataModule = trainer.datamodule  # type: ignore[attr-defined]
            images, _labels = data.validation_images(range(REFERENCE))
            with batch_statistics(pl_module.supernet):
                answers = functional(pl_module.supernet, self.candidates, images)
            self.taken[trainer.global_step] = answers
            trainer.should_stop = trainer.global_step == max(self.steps)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(spearmanr(a, b).statistic)


def to_mean(answers: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean cosine distances of rows to other rows."""
    unit, mean = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (answers, others))
    return np.asarray(1 - unit @ mean.mean(axis=0), dtype=np.float64)


def fidelity(quick: bool) -> list[Figure]:
    """How densities on few images, or of earlier weights, rank the candidates as those on many and of now do."""
    space = NASBench201(channels=8, cells=1, in_channels=1, image_size=8)
    rng = generator(0, Stream.SUBSET)
    paths = [space.sample(rng) for _ in range(20 if quick else CANDIDATES)]
    # In the middle of the run, where the learning rate is half of what it was: at the end nothing changes any more.
    middle = 350 if quick else 1500
    snapshots = Snapshots(paths, [middle - age for age in (0, *AGES)])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as root:
        trainer = NASTrainer(
            default_root_dir=root,
            callbacks=[UniformSampler(seed=0), snapshots],
            max_epochs=-1,
            max_steps=2 * middle,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )
        trainer.fit(
            SupernetModule(space), datamodule=DigitsDataModule(train_size=1000, batch_size=64, seed=0)
        )
    now = snapshots.taken[middle]
    exact = mean_distance(now)
    classes = space.num_classes
    probes = [
        Figure(f"density.spearman.xv{n}", [correlation(mean_distance(now[:, : n * classes]), exact)], "1")
        for n in PROBE_SIZES
    ]
    stale, mixed = [], []
    for age in AGES:
        before = snapshots.taken[middle - age]
        stale.append(
            Figure(
                f"density.spearman.pool_of_{age}_steps_ago", [correlation(mean_distance(before), exact)], "1"
            )
        )
        mixed.append(
            Figure(
                f"density.spearman.candidate_against_{age}_steps_ago",
                [correlation(to_mean(now, before), exact)],
                "1",
            )
        )
    return [*probes, *stale, *mixed]


@torch.no_grad()
def probe_costs(setting: Setting, rounds: int) -> list[Figure]:
    """A forward pass of the probe, as a share of a training step of the batch."""
    torch.manual_seed(0)
    space = setting.space
    supernet = space.build_supernet().to(memory_format=torch.channels_last)
    number = max(setting.batch_size, *PROBE_SIZES)
    images = torch.randn(number, space.in_channels, space.image_size, space.image_size)
    images = images.contiguous(memory_format=torch.channels_last)
    batch = images[: setting.batch_size]
    rng = generator(0, Stream.SUBSET)
    paths = [space.sample(rng) for _ in range(rounds * setting.steps)]
    shares: dict[int, list[float]] = {n: [] for n in PROBE_SIZES}
    for first in range(0, len(paths), setting.steps):
        block = paths[first : first + setting.steps]
        step = duration(lambda block=block: [train(supernet, batch, path) for path in block])  # type: ignore[misc]
        for n in PROBE_SIZES:
            probe = images[:n]
            forward = duration(lambda block=block, probe=probe: [supernet(probe, path) for path in block])  # type: ignore[misc]
            shares[n].append(100 * forward / step)
    return [Figure(f"density.cost.xv{n}", shares[n], "% of a step") for n in PROBE_SIZES]


@torch.enable_grad()
def train(supernet: torch.nn.Module, images: torch.Tensor, path: tuple[int, ...]) -> None:
    weights = [weight for weight in supernet.parameters() if weight.requires_grad]
    torch.autograd.grad(supernet(images, path).logsumexp(1).sum(), weights, allow_unused=True)


def duration(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def main() -> None:
    options = arguments()
    # Lightning's advice on loaders, validation and hardware does not concern a benchmark.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    if options.quick:
        setting = Setting(NASBench201(channels=8, cells=1, image_size=16), batch_size=64, steps=6, epochs=2)
    else:
        setting = Setting(NASBench201(), batch_size=256, steps=9, epochs=4)
    figures = [*overheads(setting), calr_overhead(setting), separation_overhead(setting)]
    figures.append(fair_overhead(replace(setting, steps=4, epochs=2)))
    costs, found = probe_costs(setting, rounds=2 if options.quick else 4), fidelity(options.quick)
    if options.figure:
        values = {figure.name: figure.value for figure in (*costs, *found)}

        def part(name: str, keys: Sequence[int], unit: str = "") -> dict[int, float]:
            return {key: values[f"density.{name}{key}{unit}"] for key in keys}

        figure = probe_fidelity(
            part("cost.xv", PROBE_SIZES),
            part("spearman.xv", PROBE_SIZES),
            part("spearman.pool_of_", AGES, "_steps_ago"),
            part("spearman.candidate_against_", AGES, "_steps_ago"),
        )
        save(figure, options.figure)
    report([*figures, *costs, *found], options)


def arguments() -> argparse.Namespace:
    given = parser(__doc__)
    given.add_argument("--figure", type=Path, metavar="FILE", help="draw cost and fidelity of probes there")
    return given.parse_args()


if __name__ == "__main__":
    main()
