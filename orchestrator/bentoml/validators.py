"""BentoML's markers for `typing.Annotated`."""

from collections.abc import Sequence
from typing import Any

from orchestrator.validators import ContentType, DataframeSchema, DType, Shape

__all__ = ["ContentType", "DType", "DataframeSchema", "FileSchema", "PILImageEncoder", "Shape", "TensorSchema"]


class _Tensor(DType, Shape):
    """Both at once."""

    def __init__(self, dtype: Any, dimensions: Any) -> None:
        DType.__init__(self, dtype)
        Shape.__init__(self, dimensions)


def TensorSchema(format: str = "numpy-array", dtype: Any = None, shape: Sequence[int] | None = None) -> Any:  # noqa: N802  # BentoML's name
    """An array's type and shape.

    Args:
        format: ignored: the annotation says what it is.
    """
    if dtype is not None and shape is not None:
        return _Tensor(dtype, shape)
    if shape is not None:
        return Shape(shape)
    return format if dtype is None else DType(dtype)


def FileSchema(format: str = "binary", content_type: str | None = None) -> Any:  # noqa: N802  # BentoML's name
    """What a file may be.

    Args:
        format: ignored: the annotation says what it is.
    """
    return format if content_type is None else ContentType(content_type)


class PILImageEncoder:
    """Says nothing: `PIL.Image.Image` alone is an image already."""
