"""From a network to files: written, read again, compared, measured and described."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from lightning_nas import architecture, plots
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.export import card, onnx, program, safetensors
from lightning_nas.export.card import Report
from lightning_nas.export.exported import Exported
from lightning_nas.export.folding import folded
from lightning_nas.export.running import Run, difference, example, require_packages
from lightning_nas.export.statistics import batch_norms
from lightning_nas.files import require_writable, written_whole

SECONDS = 0.5
"""For how long latency is measured."""


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        suffix: Of its name.
        packages: What it needs beside PyTorch.
        write: Writes a network.
        load: The network of a file, run as its users do.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Exported, Path], None]
    load: Callable[[Path], Run]


FORMATS = {
    "safetensors": Format(".safetensors", ("safetensors",), safetensors.write, safetensors.load),
    "torch_export": Format(".pt2", (), program.write, program.load),
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), onnx.write, onnx.load),
}


def beside(out: Path, suffix: str) -> Path:
    """The name of a file that belongs to ``out``, such as ``model.onnx.md``."""
    return out.with_name(out.name + suffix)


def require_possible(to: str, out: Path, fold_batch_norm: bool, overwrite: bool) -> None:
    """Refuses what cannot be written, before there is anything to write.

    Args:
        to: Name of the format.
        out: The file to write.
        fold_batch_norm: Whether batch-norm is to be folded.
        overwrite: Whether files may be replaced.

    Raises:
        NASError: The name does not end as the format does, packages are not installed, a file exists, the folder cannot
            be written, or batch-norm is folded in a format that keeps the layers.
    """
    suffix, packages, *_ = FORMATS[to]
    if out.suffix != suffix:
        raise NASError(f"out is {str(out)!r}, but a file of {to} ends in {suffix}")
    if fold_batch_norm and to == "safetensors":
        raise NASError(
            "fold_batch_norm is true, but safetensors keeps the layers of the architecture: fold in torch_export or onnx"
        )
    require_packages(f"--to {to}", packages)
    for file in (out, *(beside(out, suffix) for suffix in (".json", ".md", ".png"))):
        if file.is_dir() or (file.exists() and not overwrite):
            raise NASError(f"{str(file)!r} exists: choose another --out, or replace files by --overwrite")
    require_writable(out.parent, out)


def ship(
    exported: Exported,
    to: str,
    out: Path,
    data: ImageDataModule | None = None,
    fold_batch_norm: bool = False,
    origin: str = "not said",
    command: str | None = None,
) -> Report:
    """Writes a network, the same description as JSON, a drawing of the architecture and a card in Markdown.

    Before the file takes its name, it is read again, and its answers compared with those of PyTorch, in a batch and
    alone.

    Args:
        exported: The network.
        to: Name of the format, a key of ``FORMATS``.
        out: The file. The others are beside it: ``out.json``, ``out.png`` and ``out.md`` behind its name.
        data: Whose test split is classified; None leaves the accuracy open.
        fold_batch_norm: Let convolutions do the work of the batch-norm behind them.
        origin: Where the weights are from, for the card.
        command: The command line, for the card; None where there was none.

    Returns:
        What was measured.

    Raises:
        NASError: The file does not answer as PyTorch does; nothing was written.
    """
    form = FORMATS[to]
    shipped = dataclasses.replace(exported, network=folded(exported.network)) if fold_batch_norm else exported
    with written_whole(out) as temporary:
        form.write(shipped, temporary)
        run = form.load(temporary)
        report = Report(
            difference=difference(run, exported.network, exported.space),
            latency=_latency(run, exported),
            threads=torch.get_num_threads(),
            accuracy=None if data is None else _accuracy(run, data),
            batch_norms=len(batch_norms(exported.network)),
            folded=len(batch_norms(exported.network)) - len(batch_norms(shipped.network)),
            bytes=temporary.stat().st_size,
        )
    with written_whole(beside(out, ".json")) as temporary:
        temporary.write_text(exported.description())
    drawing = beside(out, ".png")
    plots.save(architecture.draw(exported.space, exported.path), drawing)
    text = card.text(exported, report, to, out, drawing, origin, command)
    with written_whole(beside(out, ".md")) as temporary:
        temporary.write_text(text)
    return report


def _latency(run: Run, exported: Exported) -> float:
    """Median time of one image alone, in seconds."""
    # Says on import that there is no GPU, which concerns nobody who does not export.
    from torch.utils.benchmark import Timer

    timer = Timer(
        "run(image)",
        globals={"run": run, "image": example(exported.space)[:1]},
        num_threads=torch.get_num_threads(),
    )
    return float(timer.blocked_autorange(min_run_time=SECONDS).median)


def _accuracy(run: Run, data: ImageDataModule) -> float:
    """On the test split, in percent."""
    batches = data.test_dataloader()
    hits = sum(
        int((run(images).argmax(1) == labels).sum())
        for images, labels in tqdm(batches, desc="test batches", leave=False)
    )
    return 100 * hits / len(data.splits.test)
