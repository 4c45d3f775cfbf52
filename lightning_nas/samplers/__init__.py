"""Samplers: callbacks that choose the path, or paths, of every training step. One file per method."""

from lightning_nas.samplers.base import PathSampler
from lightning_nas.samplers.density import DensitySampler
from lightning_nas.samplers.prototype_density import PrototypeDensitySampler
from lightning_nas.samplers.uniform import UniformSampler

__all__ = ["DensitySampler", "PathSampler", "PrototypeDensitySampler", "UniformSampler"]
