"""numpy's own file format. Pickled objects are never read."""

import io
import math
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NPY", "read_npy", "write_npy"]

NPY: Final = "application/x-npy"
_LONGEST_HEADER: Final = 4096
_KINDS: Final = "biufU"
_WIDEST: Final = 8
_MOST_AXES: Final = 32
_FORMAT: Final[Any] = np.lib.format


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of a `.npy` file: of numbers, bools or text, in this machine's byte order. It may share the memory.

    Raises:
        ValueError: not such a file, another dtype, or longer or shorter than its header says.
    """
    file = io.BytesIO(content)
    try:
        version = _FORMAT.read_magic(file)
        read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        # numpy reads the header as a Python literal.
        raise ValueError("this is no npy file of versions 1 and 2 (numpy.save)") from error
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
    np.save(file, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
    return file.getvalue()
