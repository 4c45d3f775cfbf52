"""Architectures that are learnt by gradient, together with the weights of the supernet."""

from lightning_nas.differentiable.alphas import Alphas
from lightning_nas.differentiable.darts import DARTS
from lightning_nas.differentiable.dsnas import DSNAS
from lightning_nas.differentiable.flags import require_flags
from lightning_nas.differentiable.gdas import GDAS
from lightning_nas.differentiable.halves import halved
from lightning_nas.differentiable.history import LearningHistory
from lightning_nas.differentiable.module import AlphaOptimizer, Clipping, DifferentiableModule
from lightning_nas.differentiable.snas import SNAS
from lightning_nas.differentiable.strategy import LearningStrategy

__all__ = [
    "DARTS",
    "DSNAS",
    "GDAS",
    "SNAS",
    "AlphaOptimizer",
    "Alphas",
    "Clipping",
    "DifferentiableModule",
    "LearningHistory",
    "LearningStrategy",
    "halved",
    "require_flags",
]
