"""``lightning-nas export``: a network as a file that other programs run."""

import shlex
import sys
from pathlib import Path
from typing import Literal

from lightning_nas import architecture, checkpoint
from lightning_nas.checkpoint import Facts
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.export import card, shipping, statistics
from lightning_nas.export.exported import Exported, Normalisation
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces.operations import STANDALONE


def export(
    *,
    ckpt_path: Path,
    to: Literal["safetensors", "torch_export", "onnx"],
    out: Path,
    arch: str | None = None,
    data: ImageDataModule | None = None,
    recalibrate: int = 2000,
    fold_batch_norm: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a trained network as a file of its own, with its description (OUT.json) and a model card (OUT.md).

    From a checkpoint of retrain, or of a supernet: then of one architecture, whose batch-norm statistics are measured on
    training images. The file is compared with PyTorch, for images in a batch and alone. It takes normalised images, any
    number of them.

    Args:
        ckpt_path: A checkpoint of retrain, or of a supernet.
        to: safetensors (read by lightning_nas.load_exported), torch_export (.pt2, needs PyTorch) or onnx.
        out: The file to write: .safetensors, .pt2 or .onnx.
        arch: The architecture, in the notation of its space, or a search.json; needed for a supernet.
        data: The dataset, such as DigitsDataModule; ``-c`` takes it from a config, such as that of a run. For batch-norm of
            a supernet's path; and for accuracy and normalisation in the card.
        recalibrate: Training images on which the batch-norm statistics of a supernet's path are measured.
        fold_batch_norm: Let convolutions do the work of the batch-norm behind them (onnx always does).
        overwrite: Replace files.

    Raises:
        NASError: A file cannot be read or written, the architecture or the data do not fit the checkpoint, or the file
            does not answer as PyTorch does.
    """
    shipping.require_possible(to, out, fold_batch_norm, overwrite)
    if recalibrate < 2:
        raise NASError(f"recalibrate is {recalibrate}: valid are numbers of images from 2")
    facts = checkpoint.facts(ckpt_path)
    path = _path(facts, arch, ckpt_path)
    if data is not None:
        _require_fitting(data, facts)
        data.prepare_data()
        data.setup("test")
    exported, origin = _exported(facts, path, ckpt_path, data, recalibrate)
    command = shlex.join(["lightning-nas", *sys.argv[1:]]) if sys.argv[1:2] == ["export"] else None
    report = shipping.ship(exported, to, out, data, fold_batch_norm, origin, command)
    print(f"{out}: {exported.space.encode(path)}, {report.bytes / 1e6:,.2f} MB")
    print(f"largest difference from PyTorch: {report.difference:.1e}")
    print(f"latency: {card.latency(report)}")
    if report.accuracy is not None and data is not None:
        print(f"accuracy: {report.accuracy:.2f} % on the test split of {data.name}")
    if fold_batch_norm:
        print(f"batch-norm: {card.folding(report)}")
    print(f"model card: {shipping.beside(out, '.md')}")


def _path(facts: Facts, arch: str | None, ckpt_path: Path) -> Architecture:
    """The architecture that is meant."""
    if arch is None:
        if facts.arch is None:
            raise NASError(
                f"arch is not given, but ckpt_path {str(ckpt_path)!r} holds a supernet: give an architecture such as "
                f"{facts.space.encode(facts.space[0])!r}, or a search.json"
            )
        return facts.space.decode(facts.arch)
    try:
        path = architecture.named(facts.space, arch)
    except NASError as error:
        raise NASError(
            f"arch does not fit ckpt_path {str(ckpt_path)!r}, which holds {type(facts.space).__name__}: {error}"
        ) from error
    if facts.arch is not None and path != facts.space.decode(facts.arch):
        raise NASError(
            f"arch is {facts.space.encode(path)!r}, but ckpt_path {str(ckpt_path)!r} holds the network of "
            f"{facts.arch!r} alone: leave arch out, or give another checkpoint"
        )
    return path


def _require_fitting(data: ImageDataModule, facts: Facts) -> None:
    for name in ("num_classes", "in_channels", "image_size"):
        given, trained = getattr(data, name), getattr(facts.space, name)
        if given != trained:
            raise NASError(f"data has {name} {given}, but the checkpoint was trained with {name} {trained}")
    if facts.classes is not None and data.classes is not None:
        checkpoint.require_classes(facts.classes, data.classes)


def _exported(
    facts: Facts, path: Architecture, ckpt_path: Path, data: ImageDataModule | None, recalibrate: int
) -> tuple[Exported, str]:
    """The network, with statistics of its own, and where its weights are from."""
    if facts.arch is None:
        network = checkpoint.load_supernet(ckpt_path).extract(path).eval()
        measured = bool(statistics.batch_norms(network))
        origin = f"those of the supernet `{ckpt_path}`"
    else:
        network = checkpoint.load_network(ckpt_path).module.eval()
        measured = statistics.needs_images(network)
        origin = f"trained alone, `{ckpt_path}`"
    space, norm = facts.space.whole, facts.norm
    if measured:
        if data is None:
            raise NASError(
                f"ckpt_path {str(ckpt_path)!r} has no batch-norm statistics of {space.encode(path)!r} alone: give data "
                "(-c) to measure them on training images, or train the network with retrain and export its checkpoint"
            )
        images, _ = data.training_images(recalibrate)
        batches = statistics.equal_batches(images, data.batch_size)
        network, norm = statistics.with_statistics(space, path, network, batches), STANDALONE
        origin += f", batch-norm statistics measured on {len(images):,} training images of {data.name}"
    return Exported(space, path, norm, network, _classes(facts, data), _normalisation(data)), origin


def _classes(facts: Facts, data: ImageDataModule | None) -> tuple[str, ...] | None:
    if facts.classes is not None or data is None or data.classes is None:
        return facts.classes
    return tuple(data.classes)


def _normalisation(data: ImageDataModule | None) -> Normalisation | None:
    if data is None:
        return None
    images = data.splits.test
    return Normalisation(data.name, tuple(images.mean.tolist()), tuple(images.std.tolist()))
