"""One-shot neural architecture search on PyTorch Lightning, without sampling bias."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_nas.export import load_exported

__all__ = ["__version__", "load_exported"]

__version__ = version("lightning-nas")


def __getattr__(name: str) -> Any:
    # What takes seconds to import is imported when it is asked for.
    if name == "load_exported":
        from lightning_nas.export import load_exported

        return load_exported
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
