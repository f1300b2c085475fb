"""Markers that users put into `typing.Annotated` beside a type."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DType", "Shape"]


@dataclass(frozen=True)
class Shape:
    """The shape of an array.

    Args:
        dimensions: length of every axis; -1 for any length.
    """

    dimensions: tuple[int, ...]

    def __init__(self, dimensions: Any) -> None:
        axes = (dimensions,) if isinstance(dimensions, int) else tuple(dimensions)
        if not all(isinstance(axis, int) and not isinstance(axis, bool) and axis >= -1 for axis in axes):
            raise ValueError(f"Shape takes whole numbers from 0 up, or -1 for any length, not {dimensions!r}")
        object.__setattr__(self, "dimensions", axes)


@dataclass(frozen=True)
class DType:
    """The element type of an array, by its numpy name ("float32", "int64", "bool", "str" ...)."""

    dtype: str

    def __init__(self, dtype: Any) -> None:
        try:
            name = np.dtype(dtype).name
        except TypeError as error:
            raise ValueError(f"DType takes a numpy type name such as 'float32', not {dtype!r}") from error
        object.__setattr__(self, "dtype", name)
