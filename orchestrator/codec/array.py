"""numpy arrays, with or without a declared dtype and shape.

Triton wants one dtype and one number of axes for every input. An annotation that leaves them open is carried so:

- dtype open: FP64. Other types are sent as FP64 words, losslessly, and the hint names the type to read back.
- number of axes open: two (what a plain Triton client sends for a table). Others are flattened to two and the hint has
  the shape.

So a plain Triton client sends a two-dimensional FP64 array and needs to know nothing of hints. Results are sent as they
are: Triton passes on whatever dtype and shape a Python model gives.
"""

import itertools
import math
import re
from array import array as machine_array
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import PlainValidator, TypeAdapter

from orchestrator.codec.codec import Carrier, Packed, Workspace
from orchestrator.codec.container import concatenated, dtype_key, parts_of, tensor_from, to_numpy
from orchestrator.spec import ANY, DType, ValueKind, ValueSpec

__all__ = ["ArrayCodec", "array_from_json", "check_shape", "coerce", "hint_of", "parse_hint"]

_OPEN_SHAPE = (ANY, ANY)
_WORD = 8
_DTYPE = re.compile(r"[<>|=]?[biufcU]\d{1,9}")
"""What `numpy.dtype.str` gives for the types that travel as words."""
_FLOATS = frozenset({DType.FP16, DType.FP32, DType.FP64})
_CODES: Final[dict[type, str]] = {float: "d", int: "q"}
"""The `machine_array` that takes numbers of a type, and no text."""
_RAGGED = "an array must be a rectangle: all lists of one level must be of the same length"
_MOST_CHARACTERS = 2**25
"""In all texts of an array, each as long as the longest: 128 MiB, which a short body could ask for many times over."""


class ArrayCodec:
    """The plain form is the array; text is an array of `str` in it and BYTES in the tensor."""

    kind: ClassVar = ValueKind.ARRAY

    def carrier(self, value: ValueSpec) -> Carrier:
        return _carrier(value.dtype, _OPEN_SHAPE if value.shape is None else value.shape)

    def row_carrier(self, value: ValueSpec, axis: int) -> Carrier:
        return _carrier(value.dtype, _OPEN_SHAPE[1:] if value.shape is None else _without(value.shape, axis))

    def edge_type(self, value: ValueSpec) -> Any:
        return Annotated[Any, PlainValidator(lambda obj: _from_edge(value, obj))]

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        if plain.dtype.kind in "OSU":
            return orjson.dumps(text_array(plain).tolist())
        if not plain.ndim:
            return orjson.dumps(plain.item())
        return orjson.dumps(np.ascontiguousarray(plain), option=orjson.OPT_SERIALIZE_NUMPY)

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        if value.shape is None and plain.ndim != len(_OPEN_SHAPE):
            return _pack(value.dtype, plain.reshape(1, plain.size), plain.shape)
        return _pack(value.dtype, plain if plain.ndim else plain.reshape(1), None)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        array, shape = _unpack(packed)
        if shape is not None:
            return array.reshape(shape)
        return array.reshape(()) if value.shape == () and array.size == 1 else array

    def to_rows(self, value: ValueSpec, plain: Any, axis: int) -> Packed:
        rows = np.moveaxis(plain, axis, 0) if axis else plain
        if (value.shape is None and rows.ndim != len(_OPEN_SHAPE)) or rows.ndim == 1:
            shape = rows.shape[1:] if value.shape is None else None
            return _pack(value.dtype, rows.reshape(len(rows), math.prod(rows.shape[1:])), shape)
        return _pack(value.dtype, rows, None)

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return Packed(bytes_array(plain) if plain.dtype.kind == "U" else plain)

    def result_rows(self, value: ValueSpec, plain: Any, axis: int) -> NDArray[Any]:
        return self.result_tensor(value, np.moveaxis(plain, axis, 0) if axis else plain).tensor

    def from_rows(self, value: ValueSpec, packed: Packed, axis: int) -> Any:
        rows, shape = _unpack(packed)
        if shape is not None:
            rows = rows.reshape(len(rows), *shape)
        elif value.shape is not None and len(value.shape) == 1:
            rows = rows.reshape(len(rows))
        return np.moveaxis(rows, 0, axis) if axis else rows

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        if value.dtype is not None:
            plain = coerce(plain, value.dtype)
        check_shape(plain.shape, value.shape)
        return adapter.validate_python(tensor_from(plain, value.container) if value.container else plain)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        array = np.asarray(to_numpy(adapter.validate_python(python)))
        if array.dtype.kind in "OS":
            array = text_array(array)
        if value.dtype is not None:
            array = _cast_result(array, value.dtype)
        elif array.dtype.kind != "U" and array.dtype.name not in _SENDABLE:
            raise ValueError(f"an array of {array.dtype.name} cannot be sent; convert it to a number or to text first")
        check_shape(array.shape, value.shape)
        return array

    def count(self, python: Any, axis: int) -> int:
        shape = tuple(python.shape) if hasattr(python, "shape") else np.shape(python)
        if len(shape) <= axis:
            raise ValueError(f"no batch axis {axis} in an array of shape {list(shape)}")
        return int(shape[axis])

    def join(self, pythons: Sequence[Any], axis: int) -> Any:
        return concatenated(pythons, axis)

    def split(self, python: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        return parts_of(python, sizes, axis)

    def joinable(self, python: Any, axis: int) -> Hashable:
        shape = list(python.shape)
        del shape[axis]
        return dtype_key(python), tuple(shape)


def _carrier(dtype: DType | None, shape: tuple[int, ...]) -> Carrier:
    shape = shape or (1,)
    # An open dtype may need more than one word an element (text, complex numbers): only the last axis grows.
    return Carrier(dtype, shape) if dtype else Carrier(DType.FP64, (*shape[:-1], ANY))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _pack(dtype: DType | None, array: NDArray[Any], shape: tuple[int, ...] | None) -> Packed:
    if dtype is None:
        words, name = to_words(array)
        return Packed(words, hint_of(name, shape))
    return Packed(bytes_array(array) if dtype is DType.BYTES else array, hint_of("", shape))


def _unpack(packed: Packed) -> tuple[NDArray[Any], tuple[int, ...] | None]:
    dtype, shape = parse_hint(packed.hint)
    array = packed.tensor
    if dtype:
        array = from_words(array, dtype)
    elif array.dtype.kind == "O":
        array = text_array(array)
    return array, shape


def _cast_result(array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """The result in its declared dtype, where that loses no more than precision (numpy's "same_kind").

    Raises:
        ValueError: it is of another kind, or a number is out of the dtype's range.
    """
    if array.dtype.name == dtype.numpy:
        return array
    if dtype is DType.BYTES:
        if array.dtype.kind != "U":
            raise ValueError(f"expected an array of text, got {array.dtype.name}")
        return array
    if array.dtype.kind == "U" or not np.can_cast(array.dtype, dtype.numpy, "same_kind"):
        raise ValueError(f"expected dtype {dtype.numpy}, got {array.dtype.name}")
    return coerce(array, dtype)


_SENDABLE = frozenset(dtype.numpy for dtype in DType if dtype is not DType.BYTES)


def text_array(array: NDArray[Any]) -> NDArray[Any]:
    """An array of `bytes` or `str` objects as numpy text.

    Raises:
        ValueError: it holds something else, or bytes that are not UTF-8.
    """
    if array.dtype.kind == "U":
        return array
    flat = array.reshape(-1).tolist()
    texts = [item.decode() if isinstance(item, bytes) else item for item in flat]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("an array of Python objects cannot be sent; only numbers, bools and text can")
    return np.array(texts, dtype=np.str_).reshape(array.shape)


def bytes_array(array: NDArray[Any]) -> NDArray[np.object_]:
    """A text array as the object array of UTF-8 `bytes` that BYTES tensors are."""
    out = np.empty(array.size, dtype=object)
    out[:] = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
    return out.reshape(array.shape)


def to_words(array: NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    """An array of one or more axes as FP64 words, of which the last axis may be longer, and the dtype to read back.

    The dtype is "" where the words are the numbers themselves.
    """
    dtype = array.dtype
    if dtype == np.float64:
        return array, ""
    if _fits_in_a_word(dtype) or not array.size:
        words = np.zeros(array.shape) if dtype.kind == "U" else array.astype(np.float64)
        return words, dtype.str
    if dtype.kind == "U":
        # Text of an odd length does not fill whole words; one more character does.
        characters = dtype.itemsize // 4
        array = array.astype(f"<U{characters + characters % 2}")
    return np.ascontiguousarray(array).view(np.float64), array.dtype.str


def from_words(words: NDArray[Any], dtype_text: str) -> NDArray[Any]:
    """The array that `to_words` was given.

    Raises:
        ValueError: the hint names no type that can be read from words.
    """
    # Not any text to numpy: it evaluates some of them (a lone comma is a SyntaxError of Python's).
    if not _DTYPE.fullmatch(dtype_text):
        raise ValueError(f"{dtype_text!r} cannot be read from 64-bit words")
    try:
        dtype = np.dtype(dtype_text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{dtype_text!r} is not a dtype") from error
    if _fits_in_a_word(dtype) or not words.size:
        return words.astype(dtype)
    if not dtype.itemsize or dtype.itemsize % _WORD or words.shape[-1] * _WORD % dtype.itemsize:
        raise ValueError(f"{dtype_text!r} cannot be read from 64-bit words")
    return np.ascontiguousarray(words, dtype=np.float64).view(dtype)


def _fits_in_a_word(dtype: "np.dtype[Any]") -> bool:
    """Whether every value of the type is a float64 exactly."""
    return dtype.kind == "b" or (dtype.kind in "iuf" and dtype.itemsize < _WORD)


def hint_of(dtype: str, shape: tuple[int, ...] | None) -> str:
    """`dtype:axis,axis`; "" where the tensor says all."""
    if not dtype and shape is None:
        return ""
    return dtype if shape is None else f"{dtype}:{','.join(map(str, shape))}"


def parse_hint(hint: str) -> tuple[str, tuple[int, ...] | None]:
    """Reads `hint_of` back.

    Raises:
        ValueError: it is not such a text.
    """
    dtype, colon, axes = hint.partition(":")
    return dtype, (tuple(int(axis) for axis in axes.split(",") if axis) if colon else None)


def _from_edge(value: ValueSpec, obj: Any) -> NDArray[Any]:
    array = array_from_json(obj, value.dtype, value.shape)
    if value.container and value.dtype is None and array.dtype == np.float64 and not isinstance(obj, np.ndarray):
        # JSON names no dtype, so it is the one that the container would have taken itself.
        return coerce(array, DType.FP32)
    return array


def array_from_json(obj: Any, dtype: DType | None, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Nested lists (or an array) as an array.

    Raises:
        ValueError: ragged, not numbers, out of the dtype's range, or of another shape.
    """
    array = obj if isinstance(obj, np.ndarray) else _array_of(obj, dtype)
    if dtype is not None:
        array = coerce(array, dtype)
    if array.size == 0 and shape is not None:
        # The lists inside an empty list are not there to be counted.
        array = array.reshape(*array.shape, *(max(axis, 0) for axis in shape[array.ndim :]))
    check_shape(array.shape, shape)
    return array


def _array_of(obj: Any, dtype: DType | None) -> NDArray[Any]:
    """What JSON's lists hold, before it is made the declared type.

    Not by numpy alone, which gives every text the room of the longest, and reads numbers beside a text as text.
    """
    flat, shape = _flattened(obj)
    code = "d" if dtype in _FLOATS else _CODES.get(type(flat[0])) if flat else None
    if code is not None:
        try:
            return np.array(machine_array(code, flat)).reshape(shape)
        except (TypeError, OverflowError):
            pass  # not numbers only: the long way says what is wrong
    types = set(map(type, flat))
    if list in types:
        raise ValueError(_RAGGED)
    if not types <= {bool, int, float, str}:
        raise ValueError("an array takes only numbers, bools or text")
    if str in types and dtype in (None, DType.BYTES):
        if types != {str}:
            raise ValueError("an array takes numbers or text, not both")
        if max(map(len, flat)) * len(flat) > _MOST_CHARACTERS:
            raise ValueError("an array has no room for texts of such different lengths; use a list")
        return np.array(flat, dtype=np.str_).reshape(shape)
    if str in types or dtype in _FLOATS:
        try:
            return np.array(flat, dtype=object).astype(np.float64).reshape(shape)
        except (ValueError, OverflowError) as error:
            reason = "got text" if str in types else "got a number that is too large"
            raise ValueError(f"expected {dtype.numpy if dtype else 'numbers'}, {reason}") from error
    numbers = np.array(flat)
    if numbers.dtype.kind == "O":
        raise ValueError("whole numbers must fit in 64 bits")
    if dtype is DType.UINT64 and numbers.dtype.kind == "f" and types == {int} and min(flat) >= 0:
        numbers = np.array(flat, dtype=np.uint64)  # numpy has read large and small ones together as floats
    return numbers.reshape(shape)


def _flattened(obj: Any) -> tuple[list[Any], tuple[int, ...]]:
    """All items of nested lists in one list, and the shape of the lists around them."""
    if not isinstance(obj, list):
        return [obj], ()
    flat: list[Any] = obj
    shape: tuple[int, ...] = (len(flat),)
    while flat and isinstance(flat[0], list):
        if set(map(type, flat)) != {list} or len(set(map(len, flat))) > 1:
            raise ValueError(_RAGGED)
        shape = (*shape, len(flat[0]))
        flat = list(itertools.chain.from_iterable(flat))
    return flat, shape


def coerce(array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """The same numbers in the declared dtype.

    Raises:
        ValueError: a number does not fit: out of range, a fraction for whole numbers, text that is no number.
    """
    if dtype is DType.BYTES:
        if array.dtype.kind == "U" or array.size == 0:
            return array.astype(np.str_)
        raise ValueError(f"expected text, got {array.dtype.name}")
    wanted = np.dtype(dtype.numpy)
    if array.dtype == wanted:
        return array
    if array.dtype.kind == "U":
        try:
            array = array.astype(np.float64)
        except ValueError as error:
            raise ValueError(f"expected {wanted.name}, got text") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected {wanted.name}, got {array.dtype.name}")
    if array.size == 0:
        return array.astype(wanted)
    if wanted.kind in "iu" and array.dtype.kind != "b":
        if array.dtype.kind == "f" and not np.all(np.isfinite(array) & (array == np.trunc(array))):
            raise ValueError(f"expected whole numbers for {wanted.name}")
        limits = np.iinfo(wanted)
        low, high = array.min(), array.max()
        # Python's exact comparison: numpy would round the limit of int64 to a float.
        if int(low) < int(limits.min) or int(high) > int(limits.max):
            raise ValueError(f"numbers must be between {limits.min} and {limits.max} for {wanted.name}")
    elif wanted.kind == "b" and array.dtype.kind != "b":
        if not np.all((array == 0) | (array == 1)):
            raise ValueError("expected true or false")
    elif wanted.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(wanted)
        if not np.array_equal(np.isinf(cast), np.isinf(array)):
            raise ValueError(f"a number is too large for {wanted.name}")
        return cast
    return array.astype(wanted)


def check_shape(actual: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    """Raises: ValueError where `actual` is not of the declared shape (-1: any length; None: any shape)."""
    if expected is None:
        return
    if len(actual) != len(expected) or any(e not in (ANY, a) for a, e in zip(actual, expected, strict=True)):
        raise ValueError(f"expected an array of shape {list(expected)} (-1: any length), got {list(actual)}")
