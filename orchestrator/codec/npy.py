"""numpy's own file format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Read without numpy's reader, which makes room for whatever a header claims. Pickled objects are never read.
"""

import ast
import io
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NPY", "read_npy", "write_npy"]

NPY: Final = "application/x-npy"
_MAGIC: Final = b"\x93NUMPY"
_LENGTH_BYTES: Final = {1: 2, 2: 4}
"""Version -> bytes of the header's length. Version 3 is for field names, which no array of ours has."""
_LONGEST_HEADER: Final = 4096
_KINDS: Final = "biufU"
_WIDEST: Final = 8
_MOST_AXES: Final = 32


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of a `.npy` file: of numbers, bools or text, in this machine's byte order. It may share the memory.

    Raises:
        ValueError: not such a file, another dtype, or longer or shorter than its header says.
    """
    if content[:6] != _MAGIC or len(content) < 8:
        raise ValueError("this is no npy file (numpy.save)")
    version = content[6]
    if version not in _LENGTH_BYTES:
        raise ValueError(f"version {version} of the npy format is not read")
    start = 8 + _LENGTH_BYTES[version]
    end = start + int.from_bytes(content[8:start], "little")
    dtype, fortran, shape = _header(content[start:end])
    if end + math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"the npy file is not of the length that its header says: {dtype.name} of shape {shape}")
    if not dtype.itemsize or end == len(content):
        return np.zeros(shape, dtype=dtype.newbyteorder("="))
    array = np.frombuffer(content, dtype, offset=end).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(text: bytes) -> tuple["np.dtype[Any]", bool, tuple[int, ...]]:
    if len(text) > _LONGEST_HEADER:
        raise ValueError("the npy file's header is too long")
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        if not isinstance(descr, str) or not isinstance(fortran, bool) or not isinstance(shape, tuple):
            raise TypeError
        if len(shape) > _MOST_AXES or any(type(axis) is not int or axis < 0 for axis in shape):
            raise TypeError
        dtype: np.dtype[Any] = np.dtype(descr)
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("the npy file's header cannot be read") from None
    if dtype.kind not in _KINDS or (dtype.kind != "U" and dtype.itemsize > _WIDEST):
        raise ValueError(f"an npy file of {dtype.name} is not read; only numbers, bools and text are")
    return dtype, fortran, shape


def write_npy(array: NDArray[Any]) -> bytes:
    """The array as a `.npy` file; objects are refused."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
