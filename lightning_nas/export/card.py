"""A model card: what a file holds, in Markdown for people."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_nas.export.exported import INPUT, OUTPUT, Exported, Normalisation

LISTED = 20
"""More classes than these are only counted."""


class Report(NamedTuple):
    """What was measured of an exported file.

    Attributes:
        difference: Largest difference of its logits from PyTorch's, relative to the largest where that is above 1.
        latency: Median time of one image alone, in seconds.
        threads: Threads in which it ran.
        accuracy: Top-1 accuracy on the test split in percent; None where no data was given.
        batch_norms: Batch-norm layers of the architecture.
        folded: How many of them convolutions do the work of.
        bytes: Size of the file.
    """

    difference: float
    latency: float
    threads: int
    accuracy: float | None
    batch_norms: int
    folded: int
    bytes: int


def text(
    exported: Exported, report: Report, to: str, out: Path, drawing: Path, origin: str, command: str | None
) -> str:
    """The card of a file.

    Args:
        exported: The network in it.
        report: What was measured.
        to: Name of the format.
        out: The file.
        drawing: Of the architecture, beside it.
        origin: Where the weights are from.
        command: The command line; None leaves the section out.
    """
    sections = [
        f"# {out.name}",
        f"![The architecture]({drawing.name})",
        "\n".join(f"- **{name}**: {value}" for name, value in _facts(exported, report, to, origin)),
        "## Input and output",
        _input(exported),
        _output(exported, out),
        "## Use",
        f"```python\n{USE[to].format(file=out.name, input=INPUT, output=OUTPUT)}\n```",
    ]
    if command is not None:
        sections += ["## Made by", f"```bash\n{command}\n```"]
    return "\n\n".join(sections) + "\n"


USE = {
    "safetensors": 'from lightning_nas import load_exported\n\nnetwork = load_exported("{file}").network\n'
    "{output} = network({input})",
    "torch_export": 'import torch\n\nnetwork = torch.export.load("{file}").module()\n{output} = network({input})',
    "onnx": 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("{file}")\n'
    '[{output}] = session.run(None, {{"{input}": {input}}})',
}


def _facts(exported: Exported, report: Report, to: str, origin: str) -> Iterator[tuple[str, str]]:
    cost = exported.space.cost(exported.path)
    yield "Architecture", f"`{exported.space.encode(exported.path)}`"
    yield "Search space", f"`{exported.space}`"
    yield "Weights", origin
    yield "Format", f"{to}, {report.bytes / 1e6:,.2f} MB"
    yield "Parameters", f"{cost.params:,}"
    yield "Multiply-adds", f"{cost.macs:,} per image"
    yield "Accuracy", _accuracy(exported, report)
    yield "Latency", latency(report)
    if report.folded:
        yield "Batch-norm", folding(report)
    yield "Largest difference from PyTorch", f"{report.difference:.1e}"


def latency(report: Report) -> str:
    """The latency, and on what it was measured."""
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{1e3 * report.latency:.2f} ms for one image, in {threads} of a CPU ({platform.machine()}, {capability})"


def folding(report: Report) -> str:
    """How much batch-norm was folded."""
    return f"{report.folded} of {report.batch_norms} layers folded into convolutions"


def _accuracy(exported: Exported, report: Report) -> str:
    if report.accuracy is None or exported.normalisation is None:
        return "not measured"
    return f"{report.accuracy:.2f} % on the test split of {exported.normalisation.data}"


def _input(exported: Exported) -> str:
    space = exported.space
    shape = f"N x {space.in_channels} x {space.image_size} x {space.image_size}"
    start = f"`{INPUT}`: float32, {shape}, any N. "
    if exported.normalisation is None:
        return (
            start
            + "Normalised as in training; mean and standard deviation were not given to the export (`--data`)."
        )
    return start + _normalised(exported.normalisation)


def _normalised(normalisation: Normalisation) -> str:
    mean, std = (
        ", ".join(f"{value:.4g}" for value in values) for values in (normalisation.mean, normalisation.std)
    )
    return (
        f"Prepared as the test images of {normalisation.data} and normalised: `(pixels - mean) / std` of pixels from "
        f"0 to 255 (values of another range, such as the 0 to 16 of scikit-learn's digits, are scaled to it first), mean {mean} "
        f"and standard deviation {std} per channel."
    )


def _output(exported: Exported, out: Path) -> str:
    number, classes = exported.space.num_classes, exported.classes
    start = f"`{OUTPUT}`: float32, N x {number}, "
    if classes is None:
        return start + "one per class; the names of the classes are not known."
    if len(classes) > LISTED:
        return start + f"one per class; `{out.name}.json` names them."
    return start + f"one per class: {', '.join(f'`{name}`' for name in classes)}."
