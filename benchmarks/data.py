"""Training batches: images per second, delay of the first batch, and memory, of every way to feed a supernet.

Small images are CIFAR-10's, padded, cropped and mirrored in batches of 256; photographs are cropped, resized to 224 x 224
and mirrored in batches of 32. Speeds are taken in turn in one process, whole epochs each; first batches and memory in
processes of their own. All sides have as many workers as there are cores.

The images are those of ``cifar10_jpeg.tar.xz`` and ``imagenet_sample200.tar`` in the folder ``data`` of --data, or of
LIGHTNING_NAS_DATA; where there are none, random pictures.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from benchmarks.measure import Figure, parser, relative, report, seconds
from lightning_nas.commands import convert
from lightning_nas.data import FFCVDataModule, ImageFolderDataModule, ImageNetDataModule
from lightning_nas.data.imagenet import MEAN, STD

ROOT = Path(__file__).parents[1]
WORKERS = os.cpu_count() or 1
SMALL_BATCH, PHOTO_BATCH = 256, 32
Batches = Iterable[Any]

SMALL = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
PHOTO = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]


def torchvision_folder(root: Path, augmentation: list[Any], batch_size: int) -> Batches:
    """What most people begin with."""
    transform = transforms.Compose([*augmentation, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    images = datasets.ImageFolder(str(root / "train"), transform)
    return DataLoader(
        images, batch_size, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )


class PILImages(Dataset[tuple[Tensor, int]]):
    """Images in memory, transformed one at a time, as torchvision's CIFAR10 keeps them."""

    def __init__(self, root: Path) -> None:
        folder = datasets.ImageFolder(str(root / "train"))
        self.pixels = np.stack([np.asarray(image) for image, _ in folder])
        self.labels = folder.targets
        self.transform = transforms.Compose([*SMALL, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def pil_memory(root: Path) -> Batches:
    return DataLoader(PILImages(root), SMALL_BATCH, shuffle=True, drop_last=True)


def resident(root: Path) -> Batches:
    return ImageFolderDataModule(
        root, batch_size=SMALL_BATCH, val_fraction=0.01, cache_dir=root.parent / "cache"
    ).train_dataloader()


def ffcv_small(root: Path) -> Batches:
    return FFCVDataModule(
        root, 32, 0.01, SMALL_BATCH, area=None, centre=1.0, crop_padding=4, workers=WORKERS
    ).train_dataloader()


def ffcv_photos(root: Path) -> Batches:
    return FFCVDataModule(root, 224, 0.01, PHOTO_BATCH, workers=WORKERS).train_dataloader()


def folder_photos(root: Path) -> Batches:
    return ImageNetDataModule(root, 224, 0.01, PHOTO_BATCH, workers=WORKERS).train_dataloader()


def ffcv_own_loader(root: Path, photos: bool) -> Batches:
    """FFCV's Loader with its own augmentations, as its examples have it."""
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import (
        NormalizeImage,
        RandomHorizontalFlip,
        RandomTranslate,
        Squeeze,
        ToTensor,
        ToTorchImage,
    )

    decoder = RandomResizedCropRGBImageDecoder((224, 224)) if photos else SimpleRGBImageDecoder()
    mean, std = (255 * np.array(values) for values in (MEAN, STD))
    image = [
        decoder,
        *([] if photos else [RandomTranslate(4)]),
        RandomHorizontalFlip(),
        NormalizeImage(mean, std, np.float32),
        ToTensor(),
        ToTorchImage(),
    ]
    loader: Batches = Loader(
        str(root / "train.beton"),
        PHOTO_BATCH if photos else SMALL_BATCH,
        num_workers=WORKERS,
        order=OrderOption.RANDOM,
        drop_last=True,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Squeeze()]},
    )
    return loader


# Name: the folder of the images in a workspace, how to make the loader, and epochs per round.
SIDES: dict[str, tuple[str, Callable[[Path], Batches], int]] = {
    "cifar.resident": ("cifar", resident, 8),
    "cifar.ffcv_raw": ("cifar_raw", ffcv_small, 8),
    "cifar.ffcv_jpeg": ("cifar_jpg", ffcv_small, 3),
    "cifar.ffcv_own_loader": ("cifar_raw", lambda root: ffcv_own_loader(root, photos=False), 8),
    "cifar.pil_memory": ("cifar", pil_memory, 1),
    "cifar.folder": ("cifar", lambda root: torchvision_folder(root, SMALL, SMALL_BATCH), 1),
    "photos.ffcv_raw": ("photos_raw", ffcv_photos, 3),
    "photos.ffcv_jpeg": ("photos_jpg", ffcv_photos, 2),
    "photos.ffcv_own_loader": ("photos_jpg", lambda root: ffcv_own_loader(root, photos=True), 2),
    "photos.folder": ("photos", folder_photos, 1),
    "photos.dataloader": ("photos", lambda root: torchvision_folder(root, PHOTO, PHOTO_BATCH), 1),
}


def prepare(workspace: Path, source: Path, images: int, photos: int) -> None:
    """Writes some images of both kinds, and converts them."""
    unpack(source / "cifar10_jpeg.tar.xz", workspace / "cifar", images, (32, 32))
    unpack(source / "imagenet_sample200.tar", workspace / "photos", photos, (500, 375))
    for data, mode, max_side in (
        ("cifar", "raw", None),
        ("cifar", "jpg", None),
        ("photos", "raw", 256),
        ("photos", "jpg", 500),
    ):
        convert(data=workspace / data, out=workspace / f"{data}_{mode}", mode=mode, max_side=max_side)  # type: ignore[arg-type]


def unpack(archive: Path, root: Path, images: int, size: tuple[int, int]) -> None:
    """Some images of an archive as a folder with two classes; an eighth of them is the test split."""
    if archive.is_file():
        found = unpacked(archive)
    else:
        print(f"{archive} is missing: the images are random")
        found = drawn(size)
    for number, content in enumerate(islice(found, images)):
        target = root / ("train" if number % 8 else "test") / str(number // 8 % 2) / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def unpacked(archive: Path) -> Iterator[bytes]:
    with tarfile.open(archive) as content:
        for member in content:
            if member.isfile() and (file := content.extractfile(member)):
                yield file.read()


def drawn(size: tuple[int, int]) -> Iterator[bytes]:
    """Smooth random pictures."""
    for seed in count():
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
        yield file.getvalue()


def loader_of(side: str, workspace: Path) -> Batches:
    folder, make, _ = SIDES[side]
    return make(workspace / folder)


def speeds(workspace: Path, sides: Sequence[str], rounds: int) -> list[Figure]:
    """Images per second of every side, and how they compare."""
    threads = torch.get_num_threads()
    loaders = {side: loader_of(side, workspace) for side in sides}
    torch.set_num_threads(threads)  # FFCV's Loader sets it to its workers
    images: dict[str, int] = {}

    def epochs(side: str) -> Callable[[], None]:
        def run() -> None:
            images[side] = sum(len(batch[0]) for _ in range(SIDES[side][2]) for batch in loaders[side])

        return run

    figures = []
    for kind, base in (("cifar", "pil_memory"), ("photos", "dataloader")):
        taken = seconds({side: epochs(side) for side in sides if side.startswith(kind)}, rounds)
        speed = {side: [images[side] / value for value in values] for side, values in taken.items()}
        figures += [Figure(side, values, "images/s") for side, values in speed.items()]
        pairs = [(side, f"{kind}.{base}") for side in speed if side != f"{kind}.{base}"]
        if kind == "cifar":
            pairs += [("cifar.resident", side) for side in speed if side.startswith("cifar.ffcv")]
        figures += [
            relative(f"{fast} / {slow}", speed[fast], speed[slow], "images/s") for fast, slow in pairs
        ]
    return figures


def alone(side: str, workspace: Path) -> None:
    """Prints how long the first batch of a side takes, and what two epochs of it need, in a fresh process."""
    before = resident_memory()
    if "ffcv" in side:
        start = perf_counter()
        import ffcv  # noqa: F401

        imported = perf_counter() - start
    else:
        imported = 0.0
    start = perf_counter()
    loader = loader_of(side, workspace)
    next(iter(loader))
    first = perf_counter() - start
    for _ in range(2):
        for _ in loader:
            pass
    print(json.dumps({"first": first, "import": imported, "memory": resident_memory() - before}))


def resident_memory() -> float:
    """Megabytes of this process that no other has and that no file backs."""
    [line] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")
    ]
    return int(line.split()[1]) / 1024


def first_batches(workspace: Path, sides: Sequence[str], rounds: int) -> list[Figure]:
    """First batches and memory of some sides, each in processes of their own."""
    figures = []
    for side in sides:
        command = [sys.executable, "-m", "benchmarks.data", "--alone", side, "--workspace", str(workspace)]
        found = []
        for _ in range(rounds + 1):
            output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
            found.append(json.loads(output.splitlines()[-1]))
        name = "ffcv.first_batch_second_process" if side == "photos.ffcv_jpeg" else f"{side}: first batch"
        figures.append(Figure(name, [one["first"] for one in found[1:]], "s"))
        figures.append(Figure(f"{side}: memory", [one["memory"] for one in found[1:]], "MB"))
        if side == "photos.ffcv_jpeg":
            figures.append(Figure("ffcv: import", [one["import"] for one in found[1:]], "s"))
    return figures


def main() -> None:
    arguments = parser(__doc__)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    shared = os.environ.get("LIGHTNING_NAS_DATA", "../shared")
    arguments.add_argument("--data", type=Path, default=Path(shared), help="folder with data/*.tar*")
    arguments.add_argument("--alone", choices=SIDES, help=argparse.SUPPRESS)
    arguments.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.alone:
        alone(options.alone, options.workspace)
        return
    images, photos, rounds = (1200, 80, 1) if options.quick else (12_000, 200, 5)
    # FFCV's own Loader compiles for half a minute in every process.
    sides = [side for side in SIDES if not options.quick or "own_loader" not in side]
    with tempfile.TemporaryDirectory() as folder:
        # Checksums that were compared are remembered there.
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        prepare(Path(folder), options.data / "data", images, photos)
        figures = speeds(Path(folder), sides, rounds)
        own = [side for side in sides if "own_loader" in side]
        others = ["photos.ffcv_jpeg"] if options.quick else [side for side in sides if side not in own]
        figures += first_batches(Path(folder), others, 1 if options.quick else 3)
        figures += first_batches(Path(folder), own, 1)
        report(figures, options)


if __name__ == "__main__":
    main()
