"""What tests of several spaces share."""

from pathlib import Path as File

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_nas.spaces import Cost, NormPolicy, Path, SearchSpace

NORMS = [NormPolicy(), NormPolicy(affine=True, running_stats=True)]
CONFIGS = File(__file__).parents[1] / "configs" / "spaces"


def small_space(file: File) -> SearchSpace:
    """The space of a ``_small.yaml``, for the images of ``data/digits.yaml``."""
    description = yaml.safe_load(file.read_text())["model"]["space"]
    class_path, args = f"lightning_nas.spaces.{description['class_path']}", description.get("init_args", {})
    space = SearchSpace.from_description({"class_path": class_path, "init_args": args})
    return space.adapt(num_classes=10, in_channels=1, image_size=8)


def some_paths(space: SearchSpace, number: int) -> list[Path]:
    """Different paths of a space, at most ``number`` of them."""
    if space.size <= number:
        return list(space)
    rng = np.random.default_rng(0)
    paths: set[Path] = set()
    while len(paths) < number:
        paths.add(space.sample(rng))
    return sorted(paths)


def images(space: SearchSpace, number: int = 2) -> Tensor:
    """Random images that fit a space."""
    return torch.randn(number, space.in_channels, space.image_size, space.image_size)


def measured_cost(network: nn.Module, x: Tensor) -> Cost:
    """Parameters, and multiply-adds of convolutions and linear layers as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(x[:1])
    counted = counter.get_flop_counts()["Global"]
    # Products of two activations, such as attention, are no layers and not counted by the convention.
    layers = [flops for operation, flops in counted.items() if "bmm" not in str(operation)]
    return Cost(sum(p.numel() for p in network.parameters()), sum(layers) // 2)


def check_extracted_networks(
    space: SearchSpace, paths: list[Path], norm: NormPolicy, training: bool, x: Tensor
) -> None:
    """Every extracted network equals its path of the supernet, bitwise, and has its mode."""
    torch.manual_seed(0)
    supernet = space.build_supernet(norm=norm)
    supernet(x, paths[0])  # moves running statistics away from their initial values
    supernet.train(training)
    for path in paths:
        network = supernet.extract(path)
        assert network.training == training
        buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        assert torch.equal(network(x), supernet(x, path))
        for name, buffer in supernet.named_buffers():
            buffer.copy_(buffers[name])
