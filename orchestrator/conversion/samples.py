"""What both models are given: the sample in batches of many sizes, and rows at the edges of what a caller may send."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.spec.model import ModelSignature
from orchestrator.spec.tensors import ANY

__all__ = ["BATCHES", "Arrays", "Trial", "missing_values", "trials"]

Arrays = Mapping[str, NDArray[Any]]

BATCHES: Final = (1, 2, 3, 8, 17)
"""Around 1, odd and even, and beyond what most kernels take at once."""
_WHOLE: Final = 1024
_EDGE_ROWS: Final = 3
_LARGE: Final = 10.0
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Trial:
    """One call of both models.

    Attributes:
        words: for the report, without the number of rows.
        edge: made up; the original may be unable to answer it.
    """

    words: str
    inputs: Arrays
    edge: bool = False


def trials(signature: ModelSignature, sample: Arrays) -> Iterator[Trial]:
    """Everything that both models are to answer.

    Args:
        sample: all inputs; with a batch axis, the same number of rows in each, at least one.
    """
    if not signature.batched:
        yield Trial("the sample", sample)
        yield from _edges(signature, sample)
        return
    rows = _rows(sample)
    for start in range(0, rows, _WHOLE):
        yield Trial("the sample", _taken(sample, np.arange(start, min(start + _WHOLE, rows))))
    start = 0
    for size in BATCHES:
        yield Trial(f"a batch of {size}", _taken(sample, np.arange(start, start + size) % rows))
        start += size
    yield from _edges(signature, sample)


def missing_values(signature: ModelSignature, sample: Arrays) -> Trial | None:
    """Rows with NaN in their first column; None where no input has floats in columns."""
    if not signature.batched:
        return None
    few = {name: array.copy() for name, array in _taken(sample, np.arange(_EDGE_ROWS) % _rows(sample)).items()}
    columns = [array for array in few.values() if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1]]
    for array in columns:
        array[:, 0] = np.nan
    return Trial("missing values", few, edge=True) if columns else None


def _edges(signature: ModelSignature, sample: Arrays) -> Iterator[Trial]:
    few = _taken(sample, np.arange(_EDGE_ROWS) % _rows(sample)) if signature.batched else sample
    if any(array.dtype.kind == "f" for array in sample.values()):
        for words, change in _FLOATS.items():
            yield Trial(words, {name: change(array, sample[name]) for name, array in few.items()}, edge=True)
    for words, pick in (("the least of every column", np.min), ("the greatest of every column", np.max)):
        extremes = {
            # Text has no extremes that mean anything.
            name: few[name] if array.dtype.kind not in "biuf" else _filled(few[name], pick(array, axis=0))
            for name, array in sample.items()
        }
        if signature.batched:
            yield Trial(words, extremes, edge=True)
    if signature.batched:
        yield Trial("one row again and again", _taken(sample, np.zeros(_EDGE_ROWS, dtype=np.int64)), edge=True)
    yield from _shorter(signature, few)


def _shorter(signature: ModelSignature, few: Arrays) -> Iterator[Trial]:
    """The same, with fewer elements along each free axis: a shorter text, a smaller image."""
    first = 1 if signature.batched else 0
    free = {
        axis for spec in signature.inputs for axis, length in enumerate(spec.shape) if length == ANY and axis >= first
    }
    for axis in sorted(free):
        length = max((few[spec.name].shape[axis] for spec in signature.inputs if _is_free(spec.shape, axis)), default=1)
        for kept in sorted({(length + 1) // 2, 1} - {length}, reverse=True):
            cut = (*([slice(None)] * axis), slice(kept))
            inputs = {
                spec.name: few[spec.name][cut] if _is_free(spec.shape, axis) else few[spec.name]
                for spec in signature.inputs
            }
            yield Trial(f"only {kept} along axis {axis}", inputs, edge=True)


def _is_free(shape: tuple[int, ...], axis: int) -> bool:
    return axis < len(shape) and shape[axis] == ANY


def _of_floats(change: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> Callable[..., NDArray[Any]]:
    # Integers are often ids into a table: only those that the sample shows are known to be valid.
    return lambda array, all_rows: change(array, all_rows).astype(array.dtype) if array.dtype.kind == "f" else array


_FLOATS: Final = {
    "zeros": _of_floats(lambda array, _: np.zeros_like(array)),
    "ones": _of_floats(lambda array, _: np.ones_like(array)),
    "the sample negated": _of_floats(lambda array, _: -array),
    "ten times the sample's largest": _of_floats(
        lambda array, all_rows: np.full_like(array, _LARGE * max(float(np.nanmax(np.abs(all_rows))), 1.0))
    ),
    "a millionth of the sample": _of_floats(lambda array, _: array * _TINY),
}


def _filled(like: NDArray[Any], row: NDArray[Any]) -> NDArray[Any]:
    return np.broadcast_to(row, like.shape).copy()


def _rows(sample: Arrays) -> int:
    return len(next(iter(sample.values())))


def _taken(sample: Arrays, rows: NDArray[np.int64]) -> Arrays:
    return {name: array[rows] for name, array in sample.items()}
