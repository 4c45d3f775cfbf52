"""One-shot neural architecture search on PyTorch Lightning, without sampling bias."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_nas.errors import NASError
    from lightning_nas.export import load_exported
    from lightning_nas.module import SupernetModule
    from lightning_nas.trainer import NASTrainer

__all__ = ["NASError", "NASTrainer", "SupernetModule", "__version__", "load_exported"]

__version__ = version("lightning-nas")

HOMES = {"NASError": "errors", "NASTrainer": "trainer", "SupernetModule": "module", "load_exported": "export"}


def __getattr__(name: str) -> Any:
    # What takes seconds to import is imported when it is asked for.
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
