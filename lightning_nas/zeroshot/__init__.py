"""Estimators that look at a network before it is trained."""

from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.fisher import Fisher
from lightning_nas.zeroshot.grad_norm import GradNorm
from lightning_nas.zeroshot.grasp import Grasp
from lightning_nas.zeroshot.jacob_cov import JacobCov
from lightning_nas.zeroshot.linear_regions import LinearRegions
from lightning_nas.zeroshot.ntk import NTK, condition_number, tangent_kernel
from lightning_nas.zeroshot.plain import Plain
from lightning_nas.zeroshot.relu import ReLU
from lightning_nas.zeroshot.relu_logdet import ReLULogDet
from lightning_nas.zeroshot.snip import Snip
from lightning_nas.zeroshot.synflow import SynFlow
from lightning_nas.zeroshot.vote import vote

__all__ = [
    "NTK",
    "Estimator",
    "Fisher",
    "GradNorm",
    "Grasp",
    "JacobCov",
    "LinearRegions",
    "Plain",
    "ReLU",
    "ReLULogDet",
    "Snip",
    "SynFlow",
    "condition_number",
    "tangent_kernel",
    "vote",
]
