"""Training steps of a supernet: SupernetModule in the Trainer against the bare loop, and memory for backward.

Both train the same weights on the same batches and paths, to the last bit. The Trainer logs to metrics.csv every
50 steps and keeps last.ckpt, as it does unless told otherwise; it shows no progress and does not validate.

With ``--nni PYTHON``, the interpreter of an environment that ``make/nni.sh`` makes, NNI's RandomOneShot trains NAS-Bench-201 on the
same paths in turn with them, beside a bare loop with its own supernet. NNI needs an older torch, which has a part in its time.
"""

import copy
import json
import logging
import subprocess
import tempfile
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as File
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.measure import Figure, parser, ratios, relative, report, speedup
from lightning_nas.data import Batch
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler, UniformSampler
from lightning_nas.spaces import NASBench201, Path, Pooling
from lightning_nas.trainer import NASTrainer

LOG_EVERY = 50


@dataclass(frozen=True)
class Setting:
    """A network and how long it is timed.

    Attributes:
        name: Of the setting in figures.
        space: The search space.
        batch_size: Images per step.
        block: Steps that are timed together.
        rounds: Blocks on either side.
    """

    name: str
    space: Pooling | NASBench201
    batch_size: int
    block: int
    rounds: int

    @property
    def steps(self) -> int:
        """All steps of a run: a block that does not count, because it holds the start, and the timed ones."""
        return self.block * (1 + self.rounds)

    def batches(self) -> list[Batch]:
        """A few random ones, to be used in turn."""
        rng = torch.Generator().manual_seed(0)
        space, n = self.space, self.batch_size
        shape = (n, space.in_channels, space.image_size, space.image_size)
        return [
            (torch.randn(shape, generator=rng), torch.randint(space.num_classes, (n,), generator=rng))
            for _ in range(4)
        ]


class BareLoop:
    """The training of a SupernetModule with its default settings, written out."""

    def __init__(self, module: SupernetModule, batches: list[Batch], paths: list[tuple[Path, ...]]) -> None:
        self.supernet = copy.deepcopy(module.supernet)
        self.optimizer = module.optimizer(self.supernet.parameters())
        self.scheduler = CosineAnnealingLR(self.optimizer, T_max=len(paths))
        self.batches = batches
        self.paths = paths

    def run(self, first: int, last: int) -> None:
        """Trains the steps from ``first`` to before ``last``."""
        for step in range(first, last):
            images, labels = self.batches[step % len(self.batches)]
            share = 1 / len(self.paths[step])
            self.optimizer.zero_grad()
            for path in self.paths[step]:
                loss = F.cross_entropy(self.supernet(images, path), labels)
                (loss * share).backward()
            self.optimizer.step()
            self.scheduler.step()


class Alternation:
    """Gives the Trainer its batches, and runs the bare loop when the Trainer asks for the first of a block.

    So blocks of both sides alternate in one process, the start of the run is not timed, and the Trainer carries
    no callback for the clock.
    """

    def __init__(self, bare: BareLoop, block: int, other: "NNI | None" = None) -> None:
        self.bare = bare
        self.block = block
        self.other = other
        self.trainer_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.nni_seconds: list[float] = []
        self.bare_nni_seconds: list[float] = []

    def __len__(self) -> int:
        # A step more, because the last block ends where the next one would begin.
        return len(self.bare.paths)

    def __iter__(self) -> Iterator[Batch]:
        begin = perf_counter()
        for step in range(len(self)):
            if step and step % self.block == 0:
                end = perf_counter()
                self.bare.run(step - self.block, step)
                self.trainer_seconds.append(end - begin)
                self.bare_seconds.append(perf_counter() - end)
                if self.other:
                    nni, bare_nni = self.other.run(self.bare.paths[step - self.block : step])
                    self.nni_seconds.append(nni)
                    self.bare_nni_seconds.append(bare_nni)
                begin = perf_counter()
            yield self.bare.batches[step % len(self.bare.batches)]


class NNI:
    """NNI's loop in a process of its own, which waits while it has nothing to do; see ``nni_side.py``.

    Args:
        python: The interpreter of an environment with NNI.
        setting: The network and its images.
    """

    def __init__(self, python: File, setting: Setting) -> None:
        space = setting.space
        assert isinstance(space, NASBench201)
        sizes = (space.channels, space.cells, space.image_size, setting.batch_size, LOG_EVERY)
        self.process = subprocess.Popen(
            [str(python), str(File(__file__).with_name("nni_side.py")), *map(str, sizes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, paths: list[tuple[Path, ...]]) -> tuple[float, float]:
        """The seconds of its loop, and of the bare one with its supernet, for some steps of one path each."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([path for [path] in paths]) + "\n")
        self.process.stdin.flush()
        nni, bare = json.loads(self.process.stdout.readline())
        return nni, bare

    def end(self) -> None:
        """Ends the process."""
        self.process.communicate()


def fit(module: SupernetModule, sampler: PathSampler, batches: Iterable[Batch], max_steps: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        trainer = NASTrainer(
            default_root_dir=root,
            callbacks=[sampler],
            max_epochs=-1,
            max_steps=max_steps,
            log_every_n_steps=LOG_EVERY,
            limit_val_batches=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )
        trainer.fit(module, batches)


def drawn_paths(module: SupernetModule, paths: int, steps: int) -> list[tuple[Path, ...]]:
    """What ``UniformSampler`` will choose."""
    sampler = UniformSampler(paths, seed=0)
    trainer: Any = None  # it does not look at it
    return [sampler.choose(trainer, module, step) for step in range(steps)]


def time_steps(setting: Setting, paths: int, nni: File | None) -> list[Figure]:
    torch.manual_seed(0)
    module = SupernetModule(setting.space)
    drawn = drawn_paths(module, paths, setting.steps + 1)
    compared = nni and paths == 1 and isinstance(setting.space, NASBench201)
    other = NNI(nni, setting) if nni and compared else None
    alternation = Alternation(BareLoop(module, setting.batches(), drawn), setting.block, other)
    fit(module, UniformSampler(paths, seed=0), alternation, len(alternation))
    alternation.bare.run(setting.steps, len(drawn))
    if other:
        other.end()
    for a, b in zip(module.supernet.parameters(), alternation.bare.supernet.parameters(), strict=True):
        assert torch.equal(a, b), "the two sides trained different weights"
    return step_figures(f"{setting.name}, {paths} path{'s'[: paths > 1]}", alternation)


def step_figures(name: str, alternation: Alternation) -> list[Figure]:
    ours, bare, nni, bare_nni = (
        [1e3 * seconds / alternation.block for seconds in side[1:]]
        for side in (
            alternation.trainer_seconds,
            alternation.bare_seconds,
            alternation.nni_seconds,
            alternation.bare_nni_seconds,
        )
    )
    figures = [
        relative(f"{name}: Trainer / bare loop", ours, bare, "ms"),
        Figure(f"{name}: step in the Trainer", ours, "ms"),
        Figure(f"{name}: step in the bare loop", bare, "ms"),
    ]
    # A few steps take too unsteady a time to tell a difference of a millisecond.
    if alternation.block >= LOG_EVERY:
        extra = [a - b for a, b in zip(ours, bare, strict=True)]
        figures.append(Figure(f"{name}: extra in the Trainer", extra, "ms"))
    if nni:
        figures += [
            Figure(f"{name}: NNI / bare loop with its supernet", ratios(nni, bare_nni), "x"),
            speedup(f"{name}: NNI / Trainer", ours, nni, "ms"),
            Figure(f"{name}: step in NNI", nni, "ms"),
        ]
    return figures


class SavedBytes:
    """Bytes that autograd holds for the backward pass, counting a memory that several tensors share once."""

    def __init__(self) -> None:
        self.holders: Counter[int] = Counter()
        self.alive = 0
        self.peak = 0

    def hold(self, tensor: Tensor) -> "Saved":
        """Called by autograd in place of saving ``tensor``."""
        memory = tensor.untyped_storage()
        address, size = memory.data_ptr(), memory.nbytes()
        saved = Saved(tensor)
        weakref.finalize(saved, self._release, address, size)
        self.alive += size if not self.holders[address] else 0
        self.holders[address] += 1
        self.peak = max(self.peak, self.alive)
        return saved

    def _release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        self.alive -= size if not self.holders[address] else 0


@dataclass(frozen=True, eq=False)
class Saved:
    """Something that, unlike a tensor, dies when autograd lets go of it."""

    tensor: Tensor


class Largest(PathSampler):
    """Trains the path that halves the image last, several times over."""

    def __init__(self, paths: int) -> None:
        super().__init__(seed=0)
        self.paths = paths

    def choose(self, trainer: Any, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """The last path of the space."""
        return (module.space[module.space.size - 1],) * self.paths


def saved_megabytes(setting: Setting, paths: int) -> float:
    meter = SavedBytes()
    with saved_tensors_hooks(meter.hold, lambda saved: saved.tensor):
        # Not the list itself, which Lightning would take for several loaders.
        fit(SupernetModule(setting.space), Largest(paths), iter(setting.batches()), max_steps=2)
    return meter.peak / 1e6


def memory_figures(setting: Setting) -> list[Figure]:
    one, three = saved_megabytes(setting, 1), saved_megabytes(setting, 3)
    return [
        relative(f"{setting.name}: memory for backward, 3 paths / 1 path", [three], [one], "MB"),
        Figure(f"{setting.name}: memory for backward, 1 path", [one], "MB"),
    ]


def main() -> None:
    command = parser(__doc__)
    command.add_argument(
        "--nni", type=File, metavar="PYTHON", help="also measure NNI, which is installed there"
    )
    options = command.parse_args()
    # Lightning's advice on loaders, validation and hardware does not concern a benchmark.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    tiny = Pooling(channels=(8, 16, 32), in_channels=1, image_size=8)
    small = NASBench201(channels=4, cells=1, image_size=16)
    # Shorter blocks would begin anew too often, with caches full of what the other side left.
    rounds = 5 if options.quick else 15
    settings = [
        Setting("tiny", tiny, batch_size=50, block=LOG_EVERY, rounds=rounds),
        Setting("NAS-Bench-201, 4 channels, 1 cell", small, batch_size=64, block=LOG_EVERY, rounds=rounds),
    ]
    if not options.quick:
        settings += [
            Setting("published size", Pooling(), batch_size=64, block=2, rounds=7),
            Setting("NAS-Bench-201, published size", NASBench201(), batch_size=64, block=5, rounds=7),
        ]
    figures = [
        figure
        for setting in settings
        for paths in (1, 3)
        for figure in time_steps(setting, paths, options.nni)
    ]
    pooling = [setting for setting in settings if isinstance(setting.space, Pooling)]
    figures += [figure for setting in pooling for figure in memory_figures(setting)]
    report(figures, options)


if __name__ == "__main__":
    main()
