"""How a command is run on a cluster."""

from lightning_nas.launch.slurm import Job, script, seconds

__all__ = ["Job", "script", "seconds"]
