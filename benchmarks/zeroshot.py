"""How many networks of NAS-Bench-201 each estimator scores in a second, beside a plain forward and backward pass.

Networks are built before the clock runs. Parameters and multiply-adds of all 15,625 paths are added up for comparison.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Figure, arguments, peak_megabytes, relative, report, seconds
from lightning_nas.spaces import NASBench201
from lightning_nas.zeroshot import (
    NTK,
    Estimator,
    Fisher,
    GradNorm,
    Grasp,
    JacobCov,
    LinearRegions,
    Plain,
    ReLU,
    ReLULogDet,
    Snip,
    SynFlow,
)

ESTIMATORS: list[Estimator] = [
    *[GradNorm(), Plain(), Snip(), Grasp(), Fisher(), SynFlow(), JacobCov()],
    *[ReLULogDet(), ReLU(), NTK(), LinearRegions()],
]
IMAGES = 64


def step(networks: list[nn.Module], images: Tensor, labels: Tensor) -> None:
    for network in networks:
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()


def estimate(estimator: Estimator, networks: list[nn.Module], images: Tensor, labels: Tensor) -> None:
    for network in networks:
        estimator(network, images, labels)


def costs(space: NASBench201) -> None:
    for path in space:
        space.cost(path)


def measure(quick: bool) -> list[Figure]:
    space = NASBench201(channels=4, cells=1, image_size=8) if quick else NASBench201()
    number, rounds = (2, 2) if quick else (3, 5)
    torch.manual_seed(0)
    images = torch.randn(IMAGES, space.in_channels, space.image_size, space.image_size)
    labels = torch.arange(IMAGES) % space.num_classes
    networks = [space.build_standalone(space[i]) for i in range(7000, space.size, 8000 // number)][:number]
    figures = []
    for estimator in ESTIMATORS:
        taken = seconds(
            {
                "estimate": partial(estimate, estimator, networks, images, labels),
                "step": partial(step, networks, images, labels),
            },
            rounds,
        )
        milliseconds = {side: [1e3 * value / number for value in values] for side, values in taken.items()}
        speeds = [1e3 / value for value in milliseconds["estimate"]]
        figures.append(Figure(f"{estimator.title}.paths_per_s", speeds, "paths/s"))
        name = f"{estimator.title} / forward and backward"
        figures.append(relative(name, milliseconds["estimate"], milliseconds["step"], "ms"))
    added_up = seconds({"all": partial(costs, space)}, rounds)["all"]
    figures.append(Figure("params_and_macs.all_paths_s", added_up, "s"))
    return [*figures, Figure("peak_memory_of_this_process", [peak_megabytes()], "MB")]


def main() -> None:
    options = arguments(__doc__)
    report(measure(options.quick), options)


if __name__ == "__main__":
    main()
