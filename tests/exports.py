"""Checkpoints and networks for tests of export, and what a program without lightning_nas makes of a file."""

import subprocess
import sys
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from space_checks import some_paths
from torch import Tensor, nn

from lightning_nas import checkpoint
from lightning_nas.export import Exported, Normalisation, with_statistics
from lightning_nas.spaces import NormPolicy, Path, Pooling, SearchSpace
from lightning_nas.spaces.operations import SHARED, STANDALONE

SPACE = Pooling(blocks=(1, 1, 1), channels=(4, 4, 8), in_channels=1, image_size=8)
ARCH = "2-1-1"
DIGITS = tuple("0123456789")


def varied(network: nn.Module) -> nn.Module:
    """The network with batch-norm as after a training: scales, shifts and statistics of its own everywhere."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for name, value in layer.state_dict().items():
                if value.is_floating_point():
                    shift = 0.5 if name.endswith(("weight", "var")) else -0.5
                    value.copy_(torch.rand(value.shape, generator=generator) + shift)
    return network


def exported(space: SearchSpace = SPACE, path: Path | None = None) -> Exported:
    """A network of a space, as after a training."""
    torch.manual_seed(0)
    path = some_paths(space, 1)[0] if path is None else path
    network = varied(space.build_standalone(path)).eval()
    normalisation = Normalisation("digits", (72.5,) * space.in_channels, (90.0,) * space.in_channels)
    return Exported(space, path, STANDALONE, network, DIGITS, normalisation)


def path_of_supernet(space: SearchSpace) -> Exported:
    """A path of a supernet with batch statistics."""
    torch.manual_seed(0)
    path = some_paths(space, 2)[-1]
    images = torch.randn(3, 8, space.in_channels, space.image_size, space.image_size)
    trained = space.build_supernet().eval().extract(path)
    network = with_statistics(space, path, trained, list(images))
    return Exported(space, path, STANDALONE, network, None, None)


def write_supernet(
    file: File, space: SearchSpace = SPACE, norm: NormPolicy = SHARED, **facts: Any
) -> nn.Module:
    """A checkpoint as ``fit`` leaves it."""
    torch.manual_seed(0)
    supernet = space.build_supernet(norm=norm)
    _write(file, "supernet", supernet, space, norm, **{"coasting": [], "classes": list(DIGITS), **facts})
    return supernet


def write_network(
    file: File, space: SearchSpace = SPACE, arch: str = ARCH, norm: NormPolicy = STANDALONE
) -> nn.Module:
    """A checkpoint as ``retrain`` leaves it."""
    torch.manual_seed(0)
    network = varied(space.build_standalone(space.decode(arch), norm=norm)).eval()
    _write(file, "network", network, space, norm, arch=arch, classes=list(DIGITS))
    return network


def _write(
    file: File, prefix: str, module: nn.Module, space: SearchSpace, norm: NormPolicy, **facts: Any
) -> None:
    content = {"state_dict": {f"{prefix}.{name}": value for name, value in module.state_dict().items()}}
    checkpoint.describe(content, space, norm, **facts)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)


def without_lightning_nas(code: str, images: Tensor, folder: File) -> Tensor:
    """What a fresh process that cannot import the package computes.

    Args:
        code: Sets ``logits`` from ``images``, both arrays of NumPy.
        images: What the process is given.
        folder: Where it runs.
    """
    np.save(folder / "images.npy", images.numpy())
    lines = [
        "import sys; sys.modules['lightning_nas'] = None",
        "import numpy as np; images = np.load('images.npy')",
        code,
        "np.save('logits.npy', logits)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, check=True)
    return torch.from_numpy(np.load(folder / "logits.npy"))
