"""Weights in the format of safetensors, which lightning_nas reads back as a network."""

import json
from pathlib import Path

import torch
from torch import Tensor

from lightning_nas.errors import NASError
from lightning_nas.export.exported import KEY, Exported
from lightning_nas.export.running import Run, require_packages


def write(exported: Exported, file: Path) -> None:
    """Writes the weights, with the description in the header."""
    from safetensors.torch import save_file

    weights = {name: tensor.contiguous() for name, tensor in exported.network.state_dict().items()}
    save_file(weights, file, metadata={KEY: exported.description()})


def load(file: Path) -> Run:
    """The network of a file."""
    network = load_exported(file).network

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images)
        return logits

    return run


def load_exported(file: Path | str) -> Exported:
    """The network that ``lightning-nas export --to safetensors`` wrote; the file is all that is needed.

    Args:
        file: The ``.safetensors`` file.

    Returns:
        The network in evaluation mode, with its architecture, classes and normalisation.

    Raises:
        NASError: The file is missing or damaged, was not written by lightning_nas, or safetensors is not installed.
    """
    require_packages("safetensors", ("safetensors",))
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    if not file.is_file():
        raise NASError(f"{str(file)!r} is to be loaded, but there is no such file")
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  (no dictionary)
    except SafetensorError as error:
        raise NASError(f"{str(file)!r} is damaged or no safetensors file: {error}") from error
    if KEY not in metadata:
        raise NASError(f"{str(file)!r} was not written by lightning_nas: it describes no architecture")
    try:
        exported = Exported.from_description(metadata[KEY], repr(str(file)))
        exported.network.load_state_dict(weights)
    except (json.JSONDecodeError, KeyError, TypeError, RuntimeError) as error:
        raise NASError(f"{str(file)!r} is damaged: its description does not fit its weights") from error
    return exported
