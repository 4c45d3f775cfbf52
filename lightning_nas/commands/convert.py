"""``lightning-nas convert``: image files in FFCV's format."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lightning_nas.data.augment import statistics_of_counts
from lightning_nas.data.base import stratified_order
from lightning_nas.data.beton import MANIFEST, BetonFile, Manifest, Mode, require_ffcv
from lightning_nas.data.beton_writer import Encoding, readable, write_beton
from lightning_nas.data.decoded import usable_cores
from lightning_nas.data.folders import ImageFolders, LabelledFiles, held_out
from lightning_nas.errors import NASError, require_at_least


def convert(
    *,
    data: Path,
    out: Path,
    mode: Mode = "jpg",
    max_side: int | None = 500,
    quality: int = 90,
    compressed: float = 0.5,
    val_fraction: float = 0.02,
    split_seed: int = 0,
    skip_unreadable: bool = False,
    workers: int | None = None,
) -> None:
    """Convert folders of image files into FFCV's format, for ``--data FFCVDataModule --data.root OUT``.

    Writes train.beton, test.beton and manifest.json. Interrupted, the same command begins the file again that it was
    writing, and keeps the one before.

    Args:
        data: Folder with train/<class>/* and test/<class>/* (or val/<class>/*).
        out: Folder to write into.
        mode: Store images as pixels (raw: fastest, for small images), as JPEG (jpg), or some of them so (mixed).
        max_side: Larger images are reduced to this longer side, in pixels; null for none.
        quality: Of JPEG, 1 to 100.
        compressed: Part of the images that are stored as JPEG in the mode mixed.
        val_fraction: Part of the training images that is held out for validation, between 0 and 1.
        split_seed: Seed of that split.
        skip_unreadable: Leave out images that cannot be read, and tell which, instead of refusing them; reads all twice.
        workers: Threads; null for one per core.

    Raises:
        NASError: A folder is not as described, an image cannot be read, an option is out of range, no space is left,
            out holds another conversion, or FFCV is not installed.
    """
    require_at_least(1, quality=quality, max_side=1 if max_side is None else max_side, workers=workers or 1)
    if quality > 100:
        raise NASError(f"quality is {quality}, but must be at most 100.")
    if not 0 <= compressed <= 1:
        raise NASError(f"compressed is {compressed}, but must be between 0 and 1.")
    data, out = data.expanduser().resolve(), out.expanduser()
    folders = ImageFolders.list(data, "data")
    held_out(len(folders.train.files), val_fraction, batch_size=1)
    encoding = Encoding(mode, max_side, quality, compressed)
    manifest = Manifest(
        dataset=data.name,
        classes=folders.classes,
        listing=folders.digest(),
        **dataclasses.asdict(encoding),
        val_fraction=val_fraction,
        split_seed=split_seed,
    )
    manifest = _continued(manifest, out)
    require_ffcv()
    for split, labelled in (("train", folders.train), ("test", folders.test)):
        if split in manifest.files:
            continue
        threads, skipped = workers or usable_cores(1), list[str]()
        if skip_unreadable:
            labelled, skipped = readable(labelled, threads)
            _require_all_classes(split, labelled, manifest)
        kept = _training_images(labelled, manifest) if split == "train" else None
        file, histogram = write_beton(out / f"{split}.beton", labelled, encoding, threads, kept)
        names = [str(Path(file).relative_to(data)) for file in skipped]
        manifest.files[split] = dataclasses.replace(file, skipped=names)
        if split == "train":
            mean, std = statistics_of_counts(histogram)
            manifest = dataclasses.replace(manifest, mean=mean.tolist(), std=std.tolist())
        manifest.write(out)
    for file in manifest.files.values():
        print(_told(file, out))
    print(f"Train on them with --data FFCVDataModule --data.root {out}")


def _continued(manifest: Manifest, out: Path) -> Manifest:
    """The manifest of the folder, where this conversion was begun before, with the files that are still whole."""
    if not (out / MANIFEST).exists():
        for split in ("train", "test"):
            if (out / f"{split}.beton").exists():
                raise NASError(
                    f"out is {out}, which has a {split}.beton and no {MANIFEST}: choose another folder, or remove the file"
                )
        return manifest
    before = Manifest.read(out)
    for field in (
        "dataset",
        "classes",
        "listing",
        *(f.name for f in dataclasses.fields(Encoding)),
        "val_fraction",
        "split_seed",
    ):
        old, new = getattr(before, field), getattr(manifest, field)
        if old != new:
            what = (
                "other image files"
                if field in ("classes", "listing")
                else f"{field} {old}, and now it is {new}"
            )
            raise NASError(
                f"out is {out}, which was converted with {what}: choose another folder, or remove it"
            )
    whole = {split: file for split, file in before.files.items() if _is_whole(out / file.name, file.bytes)}
    return dataclasses.replace(before, files=whole)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _training_images(labelled: LabelledFiles, manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Which images of the file ``train`` are not held out for validation."""
    num_val = held_out(len(labelled.files), manifest.val_fraction, batch_size=1)
    kept = np.ones(len(labelled.files), dtype=bool)
    kept[stratified_order(labelled.labels, manifest.split_seed)[:num_val]] = False
    return kept


def _require_all_classes(split: str, labelled: LabelledFiles, manifest: Manifest) -> None:
    counts = torch.bincount(labelled.labels, minlength=len(manifest.classes))
    if empty := [name for name, count in zip(manifest.classes, counts, strict=True) if not count]:
        raise NASError(f"skip_unreadable leaves no image of the class {empty[0]!r} in the split {split}")


def _told(file: BetonFile, out: Path) -> str:
    left_out = f"; {len(file.skipped)} unreadable left out: {', '.join(file.skipped)}" if file.skipped else ""
    return f"{out / file.name}: {file.images:,} images, {file.bytes / 1e6:,.1f} MB{left_out}"
