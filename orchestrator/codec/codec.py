"""What a codec is.

A value has three forms, and a codec of its kind turns one into the next; nothing else does:

  wire  (JSON value, bytes)   at the edge: front-end and clients, which know only the spec
  plain (str, int, numpy array, Blob ...)   what both sides share
  Python (the user's own types)   in the worker, which knows the annotation

and the plain form travels as one tensor. `from_*`/`to_*` are named from the plain form's point of view.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from pydantic import TypeAdapter

from orchestrator.spec import DType, ValueKind, ValueSpec

__all__ = ["Carrier", "Codec", "Packed", "RowCodec", "Workspace"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """The tensor that carries a value: its type and its shape without any batch axis (-1: any length)."""

    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A value as a tensor.

    Attributes:
        tensor: the array, shaped as the carrier says (BYTES: an object array of `bytes`).
        hint: what the tensor alone does not say, "" where it says all.
    """

    tensor: NDArray[Any]
    hint: str = ""


class Workspace(Protocol):
    """Where a call may put files."""

    def folder(self) -> Path:
        """A folder of this call's own, made on the first use and removed with the call."""
        ...


class Codec(Protocol):
    """Turns values of one kind from form to form. Stateless."""

    @property
    def kind(self) -> ValueKind: ...

    def carrier(self, value: ValueSpec) -> Carrier: ...

    def edge_type(self, value: ValueSpec) -> Any:
        """A type for pydantic that reads the JSON value into the plain form."""
        ...

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        """The plain form as a JSON document."""
        ...

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed: ...

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        """As `to_tensor`, for results: in the value's own dtype and shape, since Triton passes on both.

        A hint crosses only for the kinds of `ApiSpec.has_effects`.
        """
        ...

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        """Raises: ValueError where the tensor cannot hold such a value (a plain Triton client can send anything)."""
        ...

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        """Raises: pydantic.ValidationError or ValueError where the user's type refuses the value."""
        ...

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        """Raises: pydantic.ValidationError or ValueError where the value is not what the annotation allows."""
        ...


class RowCodec(Codec, Protocol):
    """A codec whose values are made of rows along a batch axis, so that several calls can share one.

    Tensors have the batch axis first, whatever axis the user's method wants it on.
    """

    def row_carrier(self, value: ValueSpec, axis: int) -> Carrier:
        """The carrier of one row."""
        ...

    def to_rows(self, value: ValueSpec, plain: Any, axis: int) -> Packed: ...

    def result_rows(self, value: ValueSpec, plain: Any, axis: int) -> NDArray[Any]:
        """As `result_tensor`, rows first."""
        ...

    def from_rows(self, value: ValueSpec, packed: Packed, axis: int) -> Any: ...

    def count(self, python: Any, axis: int) -> int:
        """Rows of a Python value. Raises: ValueError where it has no such axis."""
        ...

    def join(self, pythons: Sequence[Any], axis: int) -> Any: ...

    def split(self, python: Any, sizes: Sequence[int], axis: int) -> list[Any]: ...

    def joinable(self, python: Any, axis: int) -> Hashable:
        """Two values can be joined where these keys are equal."""
        ...
