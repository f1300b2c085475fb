"""numpy arrays <-> Triton's tensor bytes: the dtype table, and BYTES.

Fixed-size elements travel as they lie in memory (little-endian, C order). BYTES travels as a 4-byte little-endian
length and the content, one element after the other.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidInput, ServiceFault

__all__ = ["DATATYPES", "datatype_of", "pack", "unpack"]

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""Triton's name -> numpy's dtype. BF16 has no dtype in numpy: it is read as FP32 and never written."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")


def datatype_of(name: str, array: NDArray[Any]) -> str:
    """Triton's name for an array's dtype.

    Args:
        name: the tensor's, for the error.

    Raises:
        InvalidInput: Triton has no such type.
    """
    try:
        return _NAMES[array.dtype]  # a dtype of the other byte order is not in there
    except KeyError:
        raise InvalidInput.at((name,), f"Triton has no tensors of dtype {array.dtype}", kind="dtype") from None


def pack(name: str, array: NDArray[Any]) -> bytes | memoryview:
    """A tensor's bytes, without a copy where its memory can be sent as it is.

    Args:
        name: the tensor's, for the error.
        array: of a dtype in `DATATYPES`; object arrays hold `bytes`, or `str` that goes as UTF-8.

    Raises:
        InvalidInput: an object array holds something else.
    """
    if array.dtype != object:
        if array.size == 0:
            return b""
        return np.ascontiguousarray(array).data.cast("B")
    items: list[Any] = array.ravel().tolist()
    try:
        return _join(items)
    except TypeError:
        pass
    for index, item in enumerate(items):
        if not isinstance(item, bytes | str):
            raise InvalidInput.at((name, index), f"a BYTES tensor holds bytes, not {type(item).__name__}", kind="bytes")
    return _join([item.encode() if isinstance(item, str) else item for item in items])


def _join(items: Sequence[bytes]) -> bytes:
    parts = [b""] * (2 * len(items))
    parts[0::2] = [_LENGTH.pack(len(item)) for item in items]
    parts[1::2] = items
    return b"".join(parts)


def unpack(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> NDArray[Any]:
    """The array of a tensor's bytes; fixed-size ones are read-only views of `data`.

    Args:
        name: the tensor's, for the error.
        datatype: Triton's name of its type.

    Raises:
        ServiceFault: the bytes do not fill the shape, or the type is unknown.
    """
    count = math.prod(shape)
    try:
        if datatype == "BYTES":
            return _split(data, count).reshape(shape)
        if datatype == "BF16":  # the upper half of a float32
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        return np.frombuffer(data, DATATYPES[datatype]).reshape(shape)
    except (KeyError, ValueError, struct.error) as exc:
        raise ServiceFault(
            f"Triton sent output {name!r} with {len(data)} bytes, which are no {datatype} tensor of shape {list(shape)}"
        ) from exc


def _split(data: bytes | memoryview, count: int) -> NDArray[np.object_]:
    content = bytes(data)
    array = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        (length,) = _LENGTH.unpack_from(content, at)
        at += 4
        item = content[at : at + length]
        if len(item) != length:
            raise ValueError("cut short")
        array[index] = item
        at += length
    if at != len(content):
        raise ValueError("bytes left over")
    return array
