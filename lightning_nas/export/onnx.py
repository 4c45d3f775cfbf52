"""ONNX, which many other programs run."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_nas.export.exported import INPUT, KEY, OUTPUT, Exported
from lightning_nas.export.program import traced
from lightning_nas.export.running import Run


def write(exported: Exported, file: Path) -> None:
    """Writes the graph, with the description in its metadata.

    PyTorch's exporter folds batch-norm into convolutions whether or not the network comes with it.
    """
    model = torch.onnx.export(
        traced(exported),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: "N"},),
    )
    assert model is not None
    model.model.metadata_props[KEY] = exported.description()
    model.save(file, external_data=False)


def load(file: Path) -> Run:
    """The graph of a file, run by onnxruntime in as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        [logits] = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return run
