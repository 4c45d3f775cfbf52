"""Small runs on every data module: what they read, what a run on them saw, and what it took of the machine."""

import ctypes
import gc
import hashlib
import json
import os
import signal
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import photographs
import pytest
import short_runs
import torch
from gloo_workers import rank, ranks, strategy
from lightning import Callback, LightningModule, Trainer
from published_data import write_imagenet16, write_python_version
from torch import Tensor
from toy_space import Toy

from lightning_nas.callbacks import Ranking, RunCheckpoint
from lightning_nas.commands import convert
from lightning_nas.data import (
    CIFARDataModule,
    DigitsDataModule,
    FFCVDataModule,
    ImageDataModule,
    ImageFolderDataModule,
    ImageNet16DataModule,
    ImageNetDataModule,
    NoiseDataModule,
)
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import DataImportanceSampler, UniformSampler

# Every module has 43 to 45 training images: so many batches of all processes in an epoch.
GLOBAL_BATCH, BATCHES = 8, 5
EPOCHS = 2
CHECKPOINT_AT, KILLED_AT = 7, 8  # both in the middle of the second epoch

# ----------------------------------------------------------------------------------------------- images

TRAIN, TEST = 20, 8  # per class
CLASSES = 3


def write_images(root: Path, data_root: Path | None) -> Path:
    """A few images of CIFAR-10 and of ImageNet, as files and converted; drawn ones where there are no real ones."""
    cifar, imagenet = root / "cifar10", root / "imagenet"
    if data_root:
        _write(cifar, _pictures(data_root / "data" / "cifar10_jpeg.tar.xz"))
        photos = _pictures(data_root / "data" / "imagenet_sample200.tar")
        # One of each class: they make three of their own.
        _write(imagenet, ((str(number % CLASSES), photo) for number, (_, photo) in enumerate(photos)))
    else:
        for folder in (cifar, imagenet):
            photographs.write(folder, TRAIN, TEST)
    convert(data=cifar, out=root / "cifar10_converted", mode="raw", val_fraction=0.25)
    convert(data=imagenet, out=root / "imagenet_converted", mode="jpg", val_fraction=0.25)
    return root


def _pictures(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an archive with the folders they are in, unpacked as far as they are asked for."""
    with tarfile.open(archive) as content:
        for member in content:
            if file := content.extractfile(member):
                yield Path(member.name).parent.name, file.read()


def _write(root: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    """Those of the first classes that come, until each has enough for training and evaluation."""
    taken: Counter[str] = Counter()
    for name, picture in pictures:
        if taken[name] < TRAIN + TEST:
            file = root / ("train" if taken[name] < TRAIN else "val") / name / f"{taken[name]:02}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture)
            taken[name] += 1
        if taken.total() == CLASSES * (TRAIN + TEST):
            return


# ----------------------------------------------------------------------------------------- data modules


class Place(NamedTuple):
    """Where a process finds its images.

    Attributes:
        images: The folder of ``write_images``.
        own: An empty folder.
        patch: Undone when the process has done with them.
    """

    images: Path
    own: Path
    patch: pytest.MonkeyPatch


def digits(_: Place, **options: Any) -> ImageDataModule:
    return DigitsDataModule(**{"train_size": 44, "val_size": 30, "flip": True, **options})


def noise(_: Place, **options: Any) -> ImageDataModule:
    return NoiseDataModule(**{"image_size": 8, "train_size": 44, "val_size": 30, **options})


def image_folder(place: Place, **options: Any) -> ImageDataModule:
    return ImageFolderDataModule(place.images / "cifar10", **{"val_fraction": 0.25, "cutout": 8, **options})


def cifar(place: Place, **options: Any) -> ImageDataModule:
    write_python_version(place.own, 10, place.patch)
    return CIFARDataModule(root=place.own, **{"val_fraction": 0.78, **options})


def imagenet16(place: Place, **options: Any) -> ImageDataModule:
    root = write_imagenet16(place.own, place.patch)
    return ImageNet16DataModule(root, **{"classes": 6, "val_fraction": 0.82, **options})


def imagenet(place: Place, **options: Any) -> ImageDataModule:
    return ImageNetDataModule(
        place.images / "imagenet", **{"image_size": 32, "val_fraction": 0.25, **options}
    )


def ffcv(place: Place, **options: Any) -> ImageDataModule:
    return FFCVDataModule(place.images / "imagenet_converted", **{"image_size": 32, **options})


def ffcv_cifar(place: Place, **options: Any) -> ImageDataModule:
    whole: dict[str, Any] = {"image_size": 32, "area": None, "centre": 1.0, "crop_padding": 4, "cutout": 8}
    return FFCVDataModule(place.images / "cifar10_converted", **{**whole, **options})


MODULES: dict[str, Callable[..., ImageDataModule]] = {
    make.__name__: make
    for make in (digits, noise, image_folder, cifar, imagenet16, imagenet, ffcv, ffcv_cifar)
}
DECODED = ("imagenet", "ffcv", "ffcv_cifar")


@contextmanager
def data_module(name: str, images: Path, **options: Any) -> Iterator[ImageDataModule]:
    """One of ``MODULES`` whose batches are those of ``GLOBAL_BATCH`` images, for as long as it is used."""
    sizes = {"batch_size": GLOBAL_BATCH // ranks(), "eval_batch_size": 10, "seed": 3}
    with TemporaryDirectory() as own, pytest.MonkeyPatch.context() as patch:
        # Of decoded images and of verified checksums, for all processes.
        patch.setenv("XDG_CACHE_HOME", str(images / "cache"))
        yield MODULES[name](Place(images, Path(own), patch), **{**sizes, **options})


# ------------------------------------------------------------------------------------------------ jobs


def supernet_module(data: ImageDataModule) -> SupernetModule:
    """A supernet in which every image counts for itself."""
    space = Toy(2, 4, data.num_classes, data.in_channels, data.image_size)
    torch.manual_seed(0)
    return SupernetModule(space)


class Seen(Callback):
    """Remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, *_: Any) -> None:
        self.batches.append(batch)


def train_and_score(root: Path, name: str, images: Path, **options: Any) -> dict[str, Any]:
    """Trains and validates; with other numbers of threads on every rank, where there are any."""
    threads = {"workers": 1 + rank() + ranks(), "batches_ahead": 3 * rank()} if name in DECODED else {}
    with data_module(name, images, **threads, **options) as data:
        module, seen = supernet_module(data), Seen()
        callbacks = UniformSampler(seed=0), Ranking(probe_size=10), seen
        trainer = short_runs.trainer(root, *callbacks, max_epochs=EPOCHS, **strategy())
        trainer.fit(module, datamodule=data)
        [logged] = trainer.validate(module, datamodule=data, verbose=False)
        scores = module.evaluator.scores()
        return {
            "batches": seen.batches,
            "weights": module.state_dict(),
            "accuracy": scores.accuracy,
            "loss": scores.loss,
            "logged": logged,
        }


class Trail(Callback):
    """Writes down every batch, and may kill the process before one."""

    def __init__(self, file: Path, killed: bool) -> None:
        self.file = file
        self.killed = killed

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, *_: Any) -> None:
        if self.killed and trainer.global_step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        pixels, labels, indices = batch
        step = {
            "step": trainer.global_step,
            "indices": indices.tolist(),
            "labels": labels.tolist(),
            "pixels": hashlib.sha256(pixels.numpy().tobytes()).hexdigest(),
        }
        with self.file.open("a") as file:
            file.write(json.dumps(step) + "\n")


def train_with_trail(
    root: Path, trail: str, name: str, images: Path, important: bool, killed: bool, workers: int
) -> None:
    """Trains, from the last checkpoint where there is one; see ``Trail``."""
    threads = {"workers": workers, "batches_ahead": workers} if name in DECODED else {}
    last = root / "last.ckpt"
    with data_module(name, images, **threads) as data:
        module = supernet_module(data)
        callbacks = [
            UniformSampler(seed=0),
            RunCheckpoint(every_n_train_steps=CHECKPOINT_AT),
            Trail(root / trail, killed),
        ]
        if important:
            callbacks.append(DataImportanceSampler(schedule="constant", seed=0))
        trainer = short_runs.trainer(root, *callbacks, max_epochs=EPOCHS, limit_val_batches=0)
        trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
        torch.save(module.state_dict(), root / "end.pt")


M_MMAP_THRESHOLD = -3  # of malloc.h


class Usage(NamedTuple):
    """What a process holds: memory of its own in kB, open files, threads."""

    memory: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> "Usage":
        gc.collect()
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        status = {line[0]: line[1] for line in lines if len(line) > 1}
        files = len(list(Path("/proc/self/fd").iterdir()))
        return cls(int(status["RssAnon:"]), files, int(status["Threads:"]))


def read_for_epochs(name: str, images: Path, epochs: int) -> list[Usage]:
    """Reads training and validation images, some of them and all, and says after every epoch what is held."""
    # The allocator gives what images take back as soon as it is free: what is left is what something holds.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 65536)
    threads = {"workers": 2} if name in DECODED else {}
    # Large images, so that a batch that is kept is seen: it takes 1.6 MB.
    with data_module(name, images, image_size=128, **threads) as data:
        training, usages = data.train_dataloader(), []
        for _ in range(epochs):
            for loader in (training, data.val_dataloader()):
                next(iter(loader))
                # Threads still decode for the iterator that was left; this one's images come after.
                for _ in loader:
                    pass
            usages.append(Usage.now())
        return usages
