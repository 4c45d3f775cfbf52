"""A program of torch.export, which PyTorch alone runs."""

from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lightning_nas.export.exported import KEY, Exported
from lightning_nas.export.running import Run, example


def traced(exported: Exported) -> ExportedProgram:
    """The network as a program for any number of images."""
    return torch.export.export(
        exported.network, (example(exported.space),), dynamic_shapes=({0: Dim("batch", min=1)},)
    )


def write(exported: Exported, file: Path) -> None:
    """Writes the program, with the description beside its weights."""
    torch.export.save(traced(exported), file, extra_files={f"{KEY}.json": exported.description()})


def load(file: Path) -> Run:
    """The program of a file."""
    program = torch.export.load(file).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = program(images)
        return logits

    return run
