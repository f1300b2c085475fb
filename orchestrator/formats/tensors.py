"""Tensors of a model file: as a person writes them, and as a caller hands them over."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator.spec import ANY, DType, ModelSignature, NativeModelSpec, TensorSpec

__all__ = ["Given", "bytes_of", "check_inputs", "fits", "from_triton", "tensors_of", "text_of", "to_triton"]

Given = Sequence[TensorSpec | str]
"""Tensors as a user gives them: `TensorSpec`s, or text such as `x: FP32[-1, 4]`."""
_TEXT: Final = re.compile(r"\s*(?P<name>[^\s:]+)\s*:\s*(?P<dtype>\w+)\s*\[(?P<shape>[^\]]*)\]\s*")
_HOW: Final = "write it as `x: FP32[-1, 4]`, -1 for an axis of any length"


def tensors_of(given: Iterable[TensorSpec | str]) -> tuple[TensorSpec, ...]:
    """What a user gave, as data.

    Raises:
        DefinitionError: a text cannot be read, or a name comes twice.
    """
    tensors = tuple(each if isinstance(each, TensorSpec) else _tensor(each) for each in given)
    names = [tensor.name for tensor in tensors]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"there are two tensors of the name {name!r}")
    return tensors


def _tensor(text: str) -> TensorSpec:
    match = _TEXT.fullmatch(text)
    if not match:
        raise DefinitionError(f"{text!r} is not a tensor", hint=_HOW)
    word = match["dtype"].upper().removeprefix("TYPE_")
    try:
        dtype = (
            DType.BYTES if word == "STRING" else DType(word) if word in DType.__members__ else DType.of(word.lower())
        )
    except KeyError:
        known = ", ".join(DType)
        raise DefinitionError(f"{text!r}: Triton has no dtype {match['dtype']!r}", hint=f"it has {known}") from None
    try:
        shape = tuple(ANY if part.strip() in ("?", "*") else int(part) for part in match["shape"].split(",") if part)
    except ValueError:
        raise DefinitionError(f"{text!r}: a length is a number", hint=_HOW) from None
    if any(length < ANY for length in shape):
        raise DefinitionError(f"{text!r}: no axis has a length below -1", hint=_HOW)
    return TensorSpec(name=match["name"], dtype=dtype, shape=shape)


def fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a shape is one of those that a tensor may have."""
    return len(shape) == len(wanted) and all(w in (ANY, got) for got, w in zip(shape, wanted, strict=True))


def check_inputs(signature: ModelSignature, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inputs in the signature's order, contiguous, text as object arrays of `bytes`.

    Raises:
        InvalidInput: one is missing, is not the model's, or has another dtype or shape; or their rows differ in number.
    """
    unknown = [name for name in inputs if name not in {tensor.name for tensor in signature.inputs}]
    if unknown:
        names = ", ".join(tensor.name for tensor in signature.inputs)
        raise InvalidInput.at([unknown[0]], f"the model has no such input: it has {names}")
    checked: dict[str, NDArray[Any]] = {}
    for tensor in signature.inputs:
        if tensor.name in inputs:
            checked[tensor.name] = _checked(tensor, np.asarray(inputs[tensor.name]))
        elif not tensor.optional:
            raise InvalidInput.at([tensor.name], f"is missing: wanted {_words(tensor)}", kind="missing")
    rows = {name: len(array) for name, array in checked.items()} if signature.batched else {}
    if len(set(rows.values())) > 1:
        said = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise InvalidInput(f"every input must have as many rows as the others: {said}")
    return checked


def _checked(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    got = DType.BYTES if array.dtype.kind in "OSU" else array.dtype.name
    if got != (tensor.dtype if tensor.dtype is DType.BYTES else tensor.dtype.numpy):
        name = "text" if got is DType.BYTES else got
        raise InvalidInput.at([tensor.name], f"wanted {_words(tensor)}, got an array of {name}", kind="dtype")
    if not fits(array.shape, tensor.shape):
        raise InvalidInput.at([tensor.name], f"wanted {_words(tensor)}, got shape {list(array.shape)}", kind="shape")
    if tensor.dtype is DType.BYTES:
        return _bytes_in(tensor, array)
    return np.ascontiguousarray(array, dtype=tensor.dtype.numpy).reshape(array.shape)


def _bytes_in(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[np.object_]:
    try:
        return bytes_of(array)
    except InvalidInput as error:
        raise InvalidInput.at([tensor.name], error.message) from None


def _words(tensor: TensorSpec) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def bytes_of(array: NDArray[Any]) -> NDArray[np.object_]:
    """Text of any kind as the object array of `bytes` that a BYTES tensor is; `str` becomes UTF-8.

    Raises:
        InvalidInput: an element is neither `str` nor `bytes`.
    """
    flat = array.reshape(-1).tolist()
    out = np.empty(len(flat), dtype=object)
    for index, item in enumerate(flat):
        if not isinstance(item, str | bytes):
            raise InvalidInput(f"an array of text holds str or bytes, not {type(item).__name__}")
        out[index] = item.encode() if isinstance(item, str) else item
    return out.reshape(array.shape)


def text_of(name: str, array: NDArray[Any]) -> NDArray[np.object_]:
    """An object array of `bytes` as one of `str`, read as UTF-8.

    Args:
        name: of the input, for the message.

    Raises:
        InvalidInput: an element is no UTF-8.
    """
    out = np.empty(array.size, dtype=object)
    try:
        out[:] = [item.decode() for item in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInput.at([name], f"text must be UTF-8: {error.reason} at byte {error.start}") from None
    return out.reshape(array.shape)


def to_triton(spec: NativeModelSpec, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs, or a worker's outputs, in the shapes that Triton's clients see.

    Triton has no tensor without an axis besides the batch axis: a column of N rows travels as [N, 1], a number as [1].
    """
    bare = _bare(spec)
    return {name: array[..., None] if name in bare else array for name, array in arrays.items()}


def from_triton(spec: NativeModelSpec, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The opposite of `to_triton`; arrays that are of the model's own shape stay as they are."""
    bare = _bare(spec)
    return {
        name: array[..., 0] if name in bare and array.ndim == bare[name] + 1 and array.shape[-1] == 1 else array
        for name, array in arrays.items()
    }


def _bare(spec: NativeModelSpec) -> dict[str, int]:
    """Tensors with no axis but the batch axis -> how many axes they have."""
    rank = 1 if spec.max_batch_size else 0
    return {t.name: rank for t in (*spec.signature.inputs, *spec.signature.outputs) if len(t.shape) == rank}
