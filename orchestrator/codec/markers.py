"""Markers that users put into `typing.Annotated` beside a type."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["ContentType", "DType", "DataframeSchema", "Shape"]


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


@dataclass(frozen=True)
class ContentType:
    """What a file, an image or bytes may be; of a result, what it is sent as.

    Args:
        patterns: media types such as "image/png" or "image/*".
    """

    patterns: tuple[str, ...]

    def __init__(self, *patterns: str) -> None:
        for pattern in patterns:
            if not isinstance(pattern, str) or not re.fullmatch(r"(\*|[\w.+-]+)/(\*|[\w.+*-]+)", pattern, re.ASCII):
                raise ValueError(f"ContentType takes media types such as 'image/png' or 'image/*', not {pattern!r}")
        if not patterns:
            raise ValueError("ContentType takes at least one media type")
        object.__setattr__(self, "patterns", patterns)


@dataclass(frozen=True)
class DataframeSchema:
    """The form of a table.

    Args:
        orient: JSON form of a result: "records" (a list of rows) or "columns" (a list for each column). Arguments are
            taken in either.
        columns: the ones that must be there; an argument has these alone, in this order. None for any.
    """

    orient: Literal["records", "columns"]
    columns: tuple[str, ...] | None

    def __init__(self, orient: Literal["records", "columns"] = "records", columns: Sequence[str] | None = None) -> None:
        if orient not in ("records", "columns"):
            raise ValueError(f"DataframeSchema takes orient='records' or orient='columns', not {orient!r}")
        if isinstance(columns, str) or not all(isinstance(name, str) for name in columns or ()):
            raise ValueError(f"DataframeSchema takes a list of column names, not {columns!r}")
        object.__setattr__(self, "orient", orient)
        object.__setattr__(self, "columns", None if columns is None else tuple(columns))
