"""Chunks of a stream as bytes, and back. No socket in here.

u32 length of the head, u64 length of the body
head   JSON: {"tensors": [[name, dtype, shape, bytes], ...]}, or {"end": the error's text, or null}
body   the tensors one after the other as they lie in memory; of text and bytes u32 length and content of each item
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["End", "FrameReader", "chunk_frame", "end_frame"]

_PREFIX: Final = struct.Struct("<IQ")
_LENGTH: Final = struct.Struct("<I")
_ITEMS: Final = "items"
"""In place of a dtype: text and bytes."""


@dataclass(frozen=True, slots=True)
class End:
    """The last frame.

    Attributes:
        error: text of the error that the stream has ended with, as Triton would carry it; None where it has not failed.
    """

    error: str | None = None


def chunk_frame(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """One chunk, by the tensors' names."""
    described, bodies = [], []
    for name, tensor in tensors.items():
        # As Triton has it: text of any sort is BYTES.
        as_items = tensor.dtype.kind in "OSU"
        body = _items(tensor) if as_items else np.ascontiguousarray(tensor).tobytes()
        described.append([name, _ITEMS if as_items else tensor.dtype.str, tensor.shape, len(body)])
        bodies.append(body)
    return _frame({"tensors": described}, b"".join(bodies))


def end_frame(error: str | None = None) -> bytes:
    """The end of the stream; see `End`."""
    return _frame({"end": error}, b"")


class FrameReader:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._wanted = _PREFIX.size

    def feed(self, data: bytes) -> None:
        """Takes bytes in, as they come."""
        self._data += data

    def next(self) -> dict[str, NDArray[Any]] | End | None:
        """The next chunk (its arrays are read-only but for text), or the end; None where its bytes are not all there."""
        if len(self._data) < self._wanted:
            return None
        head_bytes, body_bytes = _PREFIX.unpack_from(self._data)
        self._wanted = _PREFIX.size + head_bytes + body_bytes
        if len(self._data) < self._wanted:
            return None
        with memoryview(self._data) as view:
            at = _PREFIX.size + head_bytes
            head = json.loads(bytes(view[_PREFIX.size : at]))
            tensors = {}
            for name, dtype, shape, size in head.get("tensors", ()):
                tensors[name] = _tensor(bytes(view[at : at + size]), dtype, shape)
                at += size
        del self._data[: self._wanted]
        self._wanted = _PREFIX.size
        return End(head["end"]) if "end" in head else tensors


def _frame(head: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(len(text), len(body)), text, body))


def _items(tensor: NDArray[Any]) -> bytes:
    parts: list[bytes] = []
    for item in tensor.flat:
        content = item.encode() if isinstance(item, str) else bytes(item)
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def _tensor(body: bytes, dtype: str, shape: list[int]) -> NDArray[Any]:
    if dtype != _ITEMS:
        return np.frombuffer(body, dtype=dtype).reshape(shape)
    items = np.empty(math.prod(shape), dtype=object)
    at = 0
    for position in range(len(items)):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        items[position] = body[at : at + length]
        at += length
    return items.reshape(shape)
