"""Search spaces: which architectures exist, and the supernets that share their weights."""

from lightning_nas.spaces.base import ChainSupernet, Path, SearchSpace, Supernet
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.macro import NASBenchMacro
from lightning_nas.spaces.operations import NormPolicy
from lightning_nas.spaces.pooling import Pooling

__all__ = [
    "ChainSupernet",
    "Cost",
    "NASBenchMacro",
    "NormPolicy",
    "Path",
    "Pooling",
    "SearchSpace",
    "Supernet",
]
