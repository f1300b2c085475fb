"""What a caller hands to a model -> its input tensors, and the other way: rows in pieces, pieces in one.

How values become the dtype of an input:

- An array is cast where no value can change (numpy's `safe`: int32 to int64, uint8 to float32), and between floats of any
  width, since numpy makes float64 of everything. An int64 array for a float32 input is refused: the caller says `astype`.
- Lists and Python numbers have no dtype of their own and become the input's (numpy's `same_kind`: whole numbers may become
  floats, floats no whole numbers; and whole numbers with or without a sign). Numbers that do not fit are refused.
- Text for a BYTES input is `str` or `bytes`, alone, in lists or in arrays; `str` becomes UTF-8.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.codec.array import coerce
from orchestrator.codec.container import to_numpy
from orchestrator.errors import InvalidInput, OutputMismatch
from orchestrator.formats.tensors import fits
from orchestrator.spec import DType, ModelSignature, NativeModelSpec, TensorSpec

__all__ = ["Arrays", "checked_outputs", "inputs_of", "joined", "no_rows", "outputs_asked", "pieces"]

Arrays = Mapping[str, NDArray[Any]]
_NUMBERS: Final = "biuf"


def inputs_of(spec: NativeModelSpec, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The inputs of one call by name, of the dtypes and shapes that the model takes.

    Args:
        positional: in the signature's order.

    Raises:
        InvalidInput: an input is missing, unknown, given twice, or of another dtype or shape; it names model and tensor.
    """
    tensors = spec.signature.inputs
    if len(positional) > len(tensors):
        raise InvalidInput.at([spec.name], f"takes {len(tensors)} inputs ({_names(tensors)}), not {len(positional)}")
    given = dict(zip((tensor.name for tensor in tensors), positional, strict=False))
    for name, value in named.items():
        if name in given:
            raise InvalidInput.at([spec.name, name], "is given twice")
        given[name] = value
    known = {tensor.name for tensor in tensors}
    for name in given:
        if name not in known:
            raise InvalidInput.at([spec.name, name], f"there is no such input: it has {_names(tensors)}")
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in tensors:
        if tensor.name in given:
            arrays[tensor.name] = _read(spec, tensor, given[tensor.name])
        elif not tensor.optional:
            raise InvalidInput.at([spec.name, tensor.name], f"is missing: wanted {_words(tensor)}", kind="missing")
    _check_rows(spec, arrays)
    return arrays


def outputs_asked(spec: NativeModelSpec, names: Sequence[str] | str | None) -> tuple[str, ...]:
    """The outputs that a call wants, in the order of the caller's list; all of them, in the signature's, without one.

    Raises:
        InvalidInput: the model has no such output, or none is asked for.
    """
    known = tuple(tensor.name for tensor in spec.signature.outputs)
    if names is None:
        return known
    asked = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    for name in asked:
        if name not in known:
            raise InvalidInput.at([spec.name], f"has no output {name!r}: it has {', '.join(known)}")
    if not asked:
        raise InvalidInput.at([spec.name], f"outputs=[] asks for nothing: it has {', '.join(known)}")
    return asked


def pieces(spec: NativeModelSpec, arrays: Arrays) -> Iterator[dict[str, NDArray[Any]]]:
    """The call as calls of at most `max_batch_size` rows; none where it has no rows."""
    most = spec.max_batch_size
    if not most:
        yield dict(arrays)
        return
    rows = _rows(arrays)
    for start in range(0, rows, most):
        yield {name: array[start : start + most] for name, array in arrays.items()} if rows > most else dict(arrays)


def joined(spec: NativeModelSpec, parts: Sequence[Arrays], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The answers to the pieces of a call, as the answer to it.

    Raises:
        OutputMismatch: they do not fit together.
    """
    if not parts:
        return no_rows(spec.signature, outputs)
    if len(parts) == 1:
        return {name: parts[0][name] for name in outputs}
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}
    except ValueError as error:
        raise OutputMismatch(
            f"{spec.name}: the answers to the pieces of a call do not fit together: {error}"
        ) from error


def no_rows(signature: ModelSignature, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a model that batches gives for no rows; axes of any length are 0 long, since nothing tells more."""
    shapes = {tensor.name: tensor for tensor in signature.outputs}
    return {
        name: np.empty([0, *(max(length, 0) for length in shapes[name].shape[1:])], dtype=shapes[name].dtype.numpy)
        for name in outputs
    }


def checked_outputs(spec: NativeModelSpec, answer: Arrays, outputs: Sequence[str], rows: int | None) -> Arrays:
    """The answer, once it is what the signature says.

    Args:
        rows: that the model was given; None where it does not batch.

    Raises:
        OutputMismatch: an output is missing, or of another dtype or shape.
    """
    for tensor in spec.signature.outputs:
        if tensor.name not in outputs:
            continue
        if tensor.name not in answer:
            raise OutputMismatch(f"{spec.name} gave no {tensor.name!r}")
        array = answer[tensor.name]
        if array.dtype != np.dtype(tensor.dtype.numpy) or not fits(array.shape, tensor.shape):
            raise OutputMismatch(
                f"{spec.name}.{tensor.name}: due was {_words(tensor)}, and the model gave {_words_of(array)}"
            )
        if rows is not None and len(array) != rows:
            raise OutputMismatch(f"{spec.name}.{tensor.name}: the model was given {rows} rows and gave {len(array)}")
    return answer


def _rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values()))) if arrays else 0


def _check_rows(spec: NativeModelSpec, arrays: Arrays) -> None:
    if not spec.signature.batched:
        return
    rows = _rows(arrays)
    for name, array in arrays.items():
        if len(array) != rows:
            first = next(iter(arrays))
            raise InvalidInput.at([spec.name, name], f"has {len(array)} rows where {first!r} has {rows}", kind="shape")


def _read(spec: NativeModelSpec, tensor: TensorSpec, value: Any) -> NDArray[Any]:
    where = [spec.name, tensor.name]
    try:
        array = _text(value) if tensor.dtype is DType.BYTES else _numbers(tensor, value)
    except ValueError as error:
        raise InvalidInput.at(where, f"wanted {_words(tensor)}: {error}", kind="dtype") from None
    if not fits(array.shape, tensor.shape):
        hint = ""
        if spec.signature.batched and array.shape and fits(array.shape, tensor.shape[1:]):
            hint = "; for one row, put a batch axis of 1 in front"
        message = f"wanted {_words(tensor)}, got shape {list(array.shape)}{hint}"
        raise InvalidInput.at(where, message, kind="shape")
    return array


def _numbers(tensor: TensorSpec, value: Any) -> NDArray[Any]:
    wanted = np.dtype(tensor.dtype.numpy)
    if type(value) is np.ndarray and value.dtype == wanted:
        return value
    value = to_numpy(value)
    has_dtype = hasattr(value, "dtype") or hasattr(value, "__array__")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("the lists of one level must be of the same length") from None
    if array.dtype.kind not in _NUMBERS:
        raise ValueError(f"got {'text' if array.dtype.kind in 'SU' else f'values of {array.dtype.name}'}")
    if not has_dtype and not array.size:  # the lists inside an empty list are not there to be counted
        array = array.reshape(*array.shape, *(max(length, 0) for length in tensor.shape[array.ndim :]))
    if array.size and not _may_become(array.dtype, wanted, has_dtype):
        hint = f"; say .astype({wanted.name!r}) where that is meant" if has_dtype else ""
        raise ValueError(f"got {array.dtype.name}, and values could change{hint}")
    return coerce(array, tensor.dtype)


def _may_become(given: np.dtype[Any], wanted: np.dtype[Any], has_dtype: bool) -> bool:
    if given.kind == wanted.kind == "f":
        return True
    if has_dtype:
        return np.can_cast(given, wanted, "safe")
    return {given.kind, wanted.kind} <= {"i", "u"} or np.can_cast(given, wanted, "same_kind")


def _text(value: Any) -> NDArray[np.object_]:
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    if array.dtype.kind not in "OSU":
        raise ValueError(f"got {array.dtype.name}")
    flat = array.reshape(-1).tolist()
    for item in flat:
        if not isinstance(item, str | bytes):
            raise ValueError(f"text is str or bytes, not {type(item).__name__}")
    out = np.empty(len(flat), dtype=object)
    try:
        out[:] = [item.encode() if isinstance(item, str) else item for item in flat]
    except UnicodeEncodeError:
        raise ValueError("text must be valid Unicode: it holds half of a surrogate pair") from None
    return out.reshape(array.shape)


def _words(tensor: TensorSpec) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def _words_of(array: NDArray[Any]) -> str:
    name = array.dtype.name
    dtype = DType.of(name).value if name in {each.numpy for each in DType} else name
    return f"{dtype}{list(array.shape)}"


def _names(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(tensor.name for tensor in tensors)
