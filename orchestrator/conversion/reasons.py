"""Why an output may differ, as far as the values themselves show it."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.spec.conversion import Tolerance

__all__ = ["cause_of"]

_COLUMNS: Final = 4096
_NEAR_ONE: Final = 1e-3
_FAR: Final = 10
"""A loose tolerance makes many arrays near; without this any small difference would be named a swap."""


def cause_of(
    name: str, expected: Mapping[str, NDArray[Any]], actual: Mapping[str, NDArray[Any]], tolerance: Tolerance
) -> str:
    """The likely cause in words; empty where the values do not show one.

    Args:
        name: of the output that differs.
        expected: all outputs of the original, for one set of inputs.
        actual: likewise of the converted model.
    """
    values = actual[name]
    for other in expected:
        if other != name and _is_rather(expected[other], expected[name], values, tolerance):
            return f"these are the values of {other!r}, the outputs are swapped"
    original = expected[name]
    if original.shape != values.shape or original.dtype.kind != "f" or values.dtype.kind != "f":
        return ""
    if not np.isfinite(values).all() and np.isfinite(original).all():
        return (
            "a value overflows on the way; float16 ends at 65504, so keep the layers with such values in float32, "
            "or scale the inputs"
        )
    return _other_axis(original, values) or _other_columns(original, values, tolerance)


def _is_rather(other: NDArray[Any], original: NDArray[Any], values: NDArray[Any], tolerance: Tolerance) -> bool:
    """Whether values are those of another array: near it, and ten times as near as to the original."""
    if not _near(other, values, tolerance):
        return False
    if original.shape != values.shape or original.dtype.kind != "f" or values.dtype.kind != "f":
        return True
    wide = values.astype(np.float64)
    return bool(_FAR * np.nanmax(np.abs(wide - other)) < np.nanmax(np.abs(wide - original)))


def _near(original: NDArray[Any], values: NDArray[Any], tolerance: Tolerance) -> bool:
    if original.shape != values.shape or original.dtype.kind != values.dtype.kind:
        return False
    if original.dtype.kind != "f":
        return bool((original == values).all())
    return bool(np.allclose(values, original, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True))


def _other_axis(original: NDArray[Any], values: NDArray[Any]) -> str:
    """A Softmax over other axes than in the original: over which do the values sum to one?"""
    before, after = _summing_to_one(original), _summing_to_one(values)
    if not before or not after or before == after:
        return ""
    return (
        f"the original's values sum to 1 over {_axes(before)}, these over {_axes(after)}, as of a Softmax over another axis "
        "(its default changed with opset 13: a model is not of another opset because its file says so)"
    )


def _summing_to_one(values: NDArray[Any]) -> tuple[int, ...]:
    if values.min() < -_NEAR_ONE:
        return ()
    for count in range(1, values.ndim):
        for axes in combinations(range(values.ndim), count):
            if np.prod([values.shape[axis] for axis in axes]) > 1 and np.allclose(
                values.sum(axis=axes, dtype=np.float64), 1.0, atol=_NEAR_ONE
            ):
                return axes
    return ()


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else "the axes " + " and ".join(map(str, axes))


def _other_columns(original: NDArray[Any], values: NDArray[Any], tolerance: Tolerance) -> str:
    if original.ndim != 2 or not 1 < original.shape[1] <= _COLUMNS or len(original) < 2:
        return ""
    order = np.lexsort(original[::-1]), np.lexsort(values[::-1])
    if _is_rather(original[:, order[0]], original[:, order[1]], values[:, order[1]], tolerance):
        return "the columns are in another order"
    return ""
