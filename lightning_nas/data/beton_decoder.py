"""Decoding with FFCV's C functions, compiled so that threads do it side by side.

Importing this file needs FFCV. FFCV's own Loader is not used, for four reasons: it draws crops from numba's global
random state, which cannot be seeded where threads share it; it cannot begin in the middle of an epoch; it keeps
a buffer of the largest image for every image of every batch ahead; and it compiles anew in every process.
"""

from collections.abc import Callable
from typing import Any

import ffcv._libffcv
import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from numba import types

# Bound by name, and not through ctypes as in FFCV: an address could not be cached.
llvmlite.binding.load_library_permanently(ffcv._libffcv.__file__)

_ADDRESS = types.voidptr
_imdecode: Any = types.ExternalFunction(
    "imdecode",
    types.int32(
        _ADDRESS,
        types.uint64,
        types.uint32,
        types.uint32,
        _ADDRESS,
        *[types.uint32] * 6,
        *[types.boolean] * 2,
    ),
)
_resize: Any = types.ExternalFunction("resize", types.void(*[types.int64] * 11))


def _compiled(function: Callable[..., int]) -> Callable[..., int]:
    """Compiled when it is first called, once for all processes where there is a folder that can be written."""
    try:
        compiled: Callable[..., int] = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        compiled = numba.njit(nogil=True)(function)
    return compiled


@_compiled
def decode(
    storage: npt.NDArray[np.uint8],
    pointers: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    compressed: npt.NDArray[np.bool_],
    heights: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.int64],
    images: npt.NDArray[np.uint8],
) -> int:
    """Decodes, crops and resizes images.

    Args:
        storage: The file.
        pointers: Where each image begins in it, ``B``.
        sizes: Bytes of each image, ``B``.
        compressed: Whether these are a JPEG, or pixels, ``B``.
        heights: Of the images, ``B``.
        widths: Of the images, ``B``.
        boxes: Top, left, height and width of the crops, ``B x 4``.
        images: Where the results belong, ``B x height x width x 3``. Of a larger crop they are the means of areas.

    Returns:
        The first image that cannot be decoded, or -1.
    """
    for k in range(len(pointers)):
        height, width = heights[k], widths[k]
        source = storage[pointers[k] : pointers[k] + sizes[k]]
        if compressed[k]:
            pixels = np.empty((height, width, 3), np.uint8)
            failed = _imdecode(
                source.ctypes,
                sizes[k],
                height,
                width,
                pixels.ctypes,
                height,
                width,
                0,
                0,
                1,
                1,
                False,
                False,
            )
            if failed != 0:
                return k
        else:
            pixels = source.reshape(height, width, 3)
        top, left, rows, columns = boxes[k]
        if rows == images.shape[1] and columns == images.shape[2]:
            images[k] = pixels[top : top + rows, left : left + columns]
        else:
            _resize(
                0,
                pixels.ctypes.data,
                height,
                width,
                top,
                top + rows,
                left,
                left + columns,
                images[k].ctypes.data,
                images.shape[1],
                images.shape[2],
            )
    return -1
