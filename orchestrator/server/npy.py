"""numpy's own file format, as a body. Pickled objects are never read."""

import io
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NPY", "read_npy", "write_npy"]

_format: Any = np.lib.format
"""numpy has no types for it."""
NPY: Final = "application/x-npy"
_LONGEST_HEADER: Final = 4096
_KINDS: Final = "biufU"
_WIDEST: Final = 8
_MOST_AXES: Final = 32


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of a `.npy` file: of numbers, bools or text, in this machine's byte order. It may share the memory.

    Raises:
        ValueError: not such a file, another dtype, or longer or shorter than its header says.
    """
    file = io.BytesIO(content)
    version = _format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = _format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = _format.read_array_header_2_0(file, max_header_size=_LONGEST_HEADER)
    else:
        raise ValueError(f"version {version[0]}.{version[1]} of the npy format is not read")
    if dtype.kind not in _KINDS or (dtype.kind != "U" and dtype.itemsize > _WIDEST):
        raise ValueError(f"an npy file of {dtype.name} is not read; only numbers, bools and text are")
    if len(shape) > _MOST_AXES or any(axis < 0 for axis in shape):
        raise ValueError(f"an npy file of shape {shape} is not read")
    body = memoryview(content)[file.tell() :]
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the npy file is not of the length that its header says: {dtype.name} of shape {shape}")
    if not dtype.itemsize or not len(body):
        return np.zeros(shape, dtype=dtype)
    array = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def write_npy(array: NDArray[Any]) -> bytes:
    """The array as a `.npy` file; objects are refused."""
    file = io.BytesIO()
    _format.write_array(file, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
    return file.getvalue()
