"""One-shot neural architecture search on PyTorch Lightning, without sampling bias."""

from importlib.metadata import version

__version__ = version("lightning-nas")
