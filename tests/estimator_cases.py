"""All estimators with their options, and what several tests look at with them."""

import importlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path as File
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_nas.spaces import Path, Supernet
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


@dataclass(frozen=True)
class Nothing(Estimator):
    """Is defined for no network."""

    title: ClassVar[str] = "nothing"

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        return math.nan


class Params(Nothing):
    """Has the title of a column."""

    title: ClassVar[str] = "params"


def example() -> type[Estimator]:
    """The estimator of ``docs/add-an-estimator.md``."""
    sys.path.append(str(File(__file__).parents[1] / "examples"))
    found: type[Estimator] = importlib.import_module("weighted_layers").WeightedLayers
    return found


RECTIFIED: list[Estimator] = [ReLU(), ReLULogDet(), LinearRegions()]
ESTIMATORS: list[Estimator] = [
    GradNorm(),
    GradNorm("global"),
    Plain(),
    Snip(),
    Grasp(),
    Fisher(),
    Fisher(broadcast=True),
    SynFlow(),
    SynFlow(batch_norm=True),
    JacobCov(),
    JacobCov("covariance"),
    NTK(),
    example()(),
    *RECTIFIED,
]
NAMES = [estimator.name for estimator in ESTIMATORS]


class PathOf(nn.Module):
    """A path inside its supernet, as a network."""

    def __init__(self, supernet: Supernet, path: Path) -> None:
        super().__init__()
        self.supernet = supernet
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the path."""
        logits: Tensor = self.supernet(x, self.path)
        return logits


def tiny_network() -> nn.Module:
    """Two convolutions with batch-norm and a classifier, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 4),
    ).double()


def labelled_images(number: int = 6) -> tuple[Tensor, Tensor]:
    """Random images of 5x5 pixels and labels of four classes."""
    torch.manual_seed(1)
    return torch.randn(number, 1, 5, 5, dtype=torch.float64), torch.arange(number) % 4
