"""How a training is run on a cluster, and what is told when its ranks lose each other."""

from lightning_nas.launch.ranks import trouble
from lightning_nas.launch.slurm import Job, script, seconds

__all__ = ["Job", "script", "seconds", "trouble"]
