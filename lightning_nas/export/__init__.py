"""Networks that leave the framework: files that other programs run, and what their users must know.

``exported`` says what a network is that can be shipped, ``statistics`` makes one of a path of a supernet. Each format
has a file: ``safetensors``, ``program`` (torch.export) and ``onnx``. ``shipping`` writes, checks and describes.
"""

from lightning_nas.export.card import Report
from lightning_nas.export.exported import Exported, Normalisation
from lightning_nas.export.safetensors import load_exported
from lightning_nas.export.shipping import FORMATS, Format, ship
from lightning_nas.export.statistics import needs_images, with_statistics

__all__ = [
    "FORMATS",
    "Exported",
    "Format",
    "Normalisation",
    "Report",
    "load_exported",
    "needs_images",
    "ship",
    "with_statistics",
]
