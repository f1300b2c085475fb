"""Tensors as Triton names them."""

from enum import StrEnum
from typing import Final

from orchestrator.spec.frozen import Frozen

__all__ = ["ANY", "DType", "TensorSpec"]

ANY: Final = -1
"""An axis of any length."""


class DType(StrEnum):
    """Triton's data types; the values are its names without the `TYPE_` of config.pbtxt."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> str:
        """The numpy name of the same type (BYTES is `object`: an array of `bytes`)."""
        return _NUMPY[self]

    @property
    def config(self) -> str:
        """The name in config.pbtxt (BYTES is TYPE_STRING there)."""
        return "TYPE_STRING" if self is DType.BYTES else f"TYPE_{self.value}"

    @classmethod
    def of(cls, numpy_name: str) -> "DType":
        """The type of a numpy dtype name.

        Raises:
            KeyError: Triton has no such type (complex64, datetime64 ...).
        """
        return _TRITON[numpy_name]


_NUMPY: Final[dict[DType, str]] = {
    DType.BOOL: "bool",
    DType.UINT8: "uint8",
    DType.UINT16: "uint16",
    DType.UINT32: "uint32",
    DType.UINT64: "uint64",
    DType.INT8: "int8",
    DType.INT16: "int16",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FP16: "float16",
    DType.FP32: "float32",
    DType.FP64: "float64",
    DType.BYTES: "object",
}
_TRITON: Final = {name: dtype for dtype, name in _NUMPY.items()}


class TensorSpec(Frozen):
    """One input or output of a Triton model.

    Attributes:
        shape: lengths of all axes, the batch axis included where the model batches; `ANY` (-1) for any length.
        optional: a caller may leave it out (inputs only).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    optional: bool = False
