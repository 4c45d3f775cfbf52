"""How a training is run by several processes and on a cluster, and what is told when they lose each other."""

from lightning_nas.launch.path_ddp import PathDDPStrategy
from lightning_nas.launch.ranks import trouble
from lightning_nas.launch.slurm import Job, script, seconds

__all__ = ["Job", "PathDDPStrategy", "script", "seconds", "trouble"]
