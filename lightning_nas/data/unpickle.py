"""Reads pickles of numbers, and runs nothing of what a file may ask for."""

import pickle
import re
from pathlib import Path
from typing import Any, Self

import numpy as np

from lightning_nas.errors import NASError


class _DType:
    """Stands for ``numpy.dtype``, and is that of a number only.

    numpy's own believes the flags that a file gives: with wrong ones it takes the bytes of a file for addresses.
    """

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"it holds numpy values of type {code!r}, but only numbers are read")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array(np.ndarray):
    """Stands for ``numpy.ndarray`` and for the function that makes an empty one for a pickle to fill."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls, 0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        super().__setstate__((1, shape, dtype.numpy, is_fortran, _bytes(content)))


def _scalar(dtype: _DType, content: bytes | str) -> np.generic:
    """Stands for the function that makes a number of numpy."""
    [number] = np.frombuffer(_bytes(content), dtype.numpy)
    assert isinstance(number, np.generic)
    return number


def _bytes(content: bytes | str) -> bytes:
    """Bytes that Python 2 wrote are read as text."""
    return content.encode("latin1") if isinstance(content, str) else content


# Numpy 2 gave its modules other names; both are in use.
ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    # Python 3 writes bytes this way in formats that Python 2 reads.
    ("_codecs", "encode"): str.encode,
}


class _PlainUnpickler(pickle.Unpickler):
    """Makes numpy arrays and plain types; refuses everything else that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, but only arrays of numbers and plain types are read"
            )
        return ADMITTED[module, name]


def unpickle(file: Path) -> Any:
    """Reads a pickle of dictionaries, lists, tuples, text, bytes, numbers and arrays of numbers.

    Args:
        file: Written by Python 2 or 3, in any protocol up to 4. Text and bytes of Python 2 become text.

    Raises:
        NASError: The file is missing, damaged, or holds anything else; nothing of it was run.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "batch"
        >>> _ = file.write_bytes(pickle.dumps({"data": np.arange(3), "labels": [1, 2, 3]}, protocol=2))
        >>> unpickle(file)["data"].tolist()
        [0, 1, 2]
        >>> _ = file.write_bytes(pickle.dumps(Path("folder")))
        >>> unpickle(file)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        lightning_nas.errors.NASError: ...batch cannot be read: it names pathlib..., but only arrays of numbers and ...
    """
    try:
        with file.open("rb") as stream:
            return _PlainUnpickler(stream, encoding="latin1").load()
    # A damaged pickle makes the reader stumble in many ways, all of them harmless.
    except Exception as error:
        raise NASError(f"{file} cannot be read: {str(error) or type(error).__name__}.") from error
