"""Samplers: callbacks that choose the path, or paths, of every training step, and the images of every epoch.

One file per method.
"""

from lightning_nas.samplers.base import PathSampler
from lightning_nas.samplers.complexity import ComplexitySampler
from lightning_nas.samplers.data import DataSampler
from lightning_nas.samplers.data_importance import DataImportanceSampler
from lightning_nas.samplers.deisomorphic import DeisomorphicSampler
from lightning_nas.samplers.density import DensitySampler
from lightning_nas.samplers.evolution import EvolutionSampler
from lightning_nas.samplers.fair import FairSampler
from lightning_nas.samplers.path_importance import PathImportanceSampler
from lightning_nas.samplers.prototype_density import PrototypeDensitySampler
from lightning_nas.samplers.uniform import UniformSampler

__all__ = [
    "ComplexitySampler",
    "DataImportanceSampler",
    "DataSampler",
    "DeisomorphicSampler",
    "DensitySampler",
    "EvolutionSampler",
    "FairSampler",
    "PathImportanceSampler",
    "PathSampler",
    "PrototypeDensitySampler",
    "UniformSampler",
]
