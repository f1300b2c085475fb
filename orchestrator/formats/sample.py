"""A model's sample: inputs, and the outputs that they must give. What a loaded model is proved with."""

import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.tensors import bytes_of
from orchestrator.spec import ANY, DType, ModelSignature, TensorSpec

__all__ = ["Sample", "compare", "generate", "read_sample", "write_sample"]

_INPUT: Final = "input."
_OUTPUT: Final = "output."


@dataclass(frozen=True, slots=True)
class Sample:
    """Arrays by name; text as object arrays of `bytes`."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]


def read_sample(path: Path) -> Sample:
    """Reads a `sample.npz`: arrays `input.<name>` and `output.<name>`.

    Raises:
        DefinitionError: it is no such file. Pickled arrays are not read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: _from_file(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DefinitionError(f"this is not a sample: {error}", file=str(path), hint="save the model again") from error
    inputs = {name.removeprefix(_INPUT): array for name, array in found.items() if name.startswith(_INPUT)}
    outputs = {name.removeprefix(_OUTPUT): array for name, array in found.items() if name.startswith(_OUTPUT)}
    return Sample(inputs, outputs)


def write_sample(path: Path, sample: Sample) -> None:
    """Writes a `sample.npz`: whole, or not at all.

    Raises:
        InvalidInput: an object array holds something else than text.
    """
    named = {_INPUT + name: array for name, array in sample.inputs.items()}
    named |= {_OUTPUT + name: array for name, array in sample.outputs.items()}
    arrays = {name: _for_file(np.asarray(array)) for name, array in named.items()}
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            np.savez(stream, **arrays)
        Path(fresh).chmod(0o644)
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def generate(signature: ModelSignature, rows: int, seed: int, *, length: int = 8) -> dict[str, NDArray[Any]]:
    """Random inputs of a signature's dtypes and shapes.

    Floats are normal, integers 0 or 1 (larger ones may be no valid index), text one letter.

    Args:
        rows: length of the batch axis, where there is one.
        seed: the same seed gives the same values.
        length: of other free axes.
    """
    random = np.random.default_rng(seed)
    return {
        tensor.name: _random(random, tensor, _shape(signature, tensor, rows, length)) for tensor in signature.inputs
    }


def compare(expected: NDArray[Any], got: NDArray[Any], tolerance: tuple[float, float]) -> str:
    """What is different, in words; "" where nothing is.

    Floats may differ by `absolute + relative * |expected|`, NaN equals NaN, and infinities their like. All else must be equal.

    Args:
        tolerance: (relative, absolute).
    """
    if expected.shape != got.shape:
        return f"expected shape {list(expected.shape)}, got {list(got.shape)}"
    if expected.dtype.kind in "OSU" or got.dtype.kind in "OSU":
        if expected.dtype.kind not in "OSU" or got.dtype.kind not in "OSU":
            return f"expected {_kind(expected)}, got {_kind(got)}"
        expected, got = bytes_of(expected), bytes_of(got)
    elif expected.dtype != got.dtype:
        return f"expected {expected.dtype.name}, got {got.dtype.name}"
    if expected.dtype.kind != "f":
        differ = np.asarray(expected != got, dtype=bool)
        worst = int(np.argmax(differ)) if differ.any() else None
    else:
        wide, other = expected.astype(np.float64), got.astype(np.float64)
        relative, absolute = tolerance
        # `isclose` is not symmetric: the second one is what the relative tolerance is of.
        differ = ~np.isclose(other, wide, rtol=relative, atol=absolute, equal_nan=True)
        with np.errstate(invalid="ignore"):
            distance = np.where(differ, np.nan_to_num(np.abs(other - wide), nan=np.inf), -1.0)
        worst = int(np.argmax(distance)) if differ.any() else None
    if worst is None:
        return ""
    at = [int(index) for index in np.unravel_index(worst, expected.shape)]
    count = int(np.count_nonzero(differ))
    values = f"expected {expected.reshape(-1)[worst]!s}, got {got.reshape(-1)[worst]!s}"
    return f"{count} of {expected.size} values differ, most at {at}: {values}"


def _kind(array: NDArray[Any]) -> str:
    return "text" if array.dtype.kind in "OSU" else array.dtype.name


def _from_file(array: NDArray[Any]) -> NDArray[Any]:
    return bytes_of(array) if array.dtype.kind in "SU" else array


def _for_file(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "OSU":
        return array
    flat = bytes_of(array)
    return np.array(flat.reshape(-1).tolist(), dtype=np.bytes_).reshape(flat.shape)


def _shape(signature: ModelSignature, tensor: TensorSpec, rows: int, length: int) -> tuple[int, ...]:
    shape = tuple(length if axis == ANY else axis for axis in tensor.shape)
    return (rows, *shape[1:]) if signature.batched else shape


def _random(random: np.random.Generator, tensor: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    if tensor.dtype is DType.BYTES:
        letters = random.integers(ord("a"), ord("z") + 1, shape)
        return bytes_of(np.array([chr(letter) for letter in letters.reshape(-1)], dtype=np.str_).reshape(shape))
    if tensor.dtype in (DType.FP16, DType.FP32, DType.FP64):
        return random.standard_normal(shape).astype(tensor.dtype.numpy)
    return random.integers(0, 2, shape).astype(tensor.dtype.numpy)
