"""Lists in batchable APIs: one row an item, so that Triton counts and merges items."""

import math
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, TypeAdapter

from orchestrator.codec.blob import BlobCodec, listed
from orchestrator.codec.codec import Carrier, Codec, Packed, Workspace
from orchestrator.codec.image import ImageCodec
from orchestrator.codec.scalar import BooleanCodec, IntegerCodec, NumberCodec, TextCodec
from orchestrator.codec.structure import JsonCodec
from orchestrator.spec import ValueKind, ValueSpec

__all__ = ["RowsCodec"]

_ITEM_CODECS: dict[ValueKind, Codec] = {
    codec.kind: codec
    for codec in (
        TextCodec(), IntegerCodec(), NumberCodec(), BooleanCodec(), JsonCodec(), BlobCodec(), ImageCodec(),
    )
}  # fmt: skip
_CONTENTS: Final = frozenset({ValueKind.BLOB, ValueKind.IMAGE})
_UNCHECKED: Final = TypeAdapter(Any)
"""For the items: the list's own adapter checks them."""


def _item(value: ValueSpec) -> tuple[Codec, ValueSpec]:
    if value.item is None:
        raise ValueError("a list of rows needs a description of its items")
    return _ITEM_CODECS[value.item.kind], value.item


class RowsCodec:
    """The plain form is a list of the items' plain forms; one row of the tensor an item.

    A row has no hint, so files (whose names matter) cannot be rows, and images and bytes lose their media types.
    """

    kind: ClassVar = ValueKind.ROWS

    def carrier(self, value: ValueSpec) -> Carrier:
        carrier = self.row_carrier(value, 0)
        return Carrier(carrier.dtype, (-1, *carrier.shape))

    def row_carrier(self, value: ValueSpec, axis: int) -> Carrier:
        codec, item = _item(value)
        return codec.carrier(item)

    def edge_type(self, value: ValueSpec) -> Any:
        codec, item = _item(value)
        edge: Any = list[codec.edge_type(item)]  # type: ignore[misc]  # a type made at run time
        return Annotated[edge, BeforeValidator(listed)] if codec.kind in _CONTENTS else edge

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        codec, item = _item(value)
        return b"[" + b",".join(codec.to_json(item, row) for row in plain) + b"]"

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_rows(value, plain, 0)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        return self.from_rows(value, packed, 0)

    def to_rows(self, value: ValueSpec, plain: Any, axis: int) -> Packed:
        codec, item = _item(value)
        if not plain:
            carrier = codec.carrier(item)
            return Packed(np.empty((0, *carrier.shape), dtype=carrier.dtype.numpy))
        return Packed(np.stack([codec.to_tensor(item, row).tensor for row in plain]))

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_rows(value, plain, 0)

    def result_rows(self, value: ValueSpec, plain: Any, axis: int) -> NDArray[Any]:
        return self.to_rows(value, plain, axis).tensor

    def from_rows(self, value: ValueSpec, packed: Packed, axis: int) -> Any:
        codec, item = _item(value)
        rows = packed.tensor.reshape(len(packed.tensor), math.prod(packed.tensor.shape[1:]))
        return [codec.from_tensor(item, Packed(row)) for row in rows]

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        codec, item = _item(value)
        if codec.kind in _CONTENTS:
            return adapter.validate_python([codec.to_python(item, row, _UNCHECKED, workspace) for row in plain])
        if codec.kind is ValueKind.JSON:
            return adapter.validate_json(self.to_json(value, plain))
        return adapter.validate_python(plain)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        codec, item = _item(value)
        checked = adapter.validate_python(python.tolist() if isinstance(python, np.ndarray) else python)
        if codec.kind is ValueKind.JSON or codec.kind in _CONTENTS:
            return [codec.from_python(item, row, _UNCHECKED) for row in checked]
        return adapter.dump_python(checked, mode="json")

    def count(self, python: Any, axis: int) -> int:
        return len(python)

    def join(self, pythons: Sequence[Any], axis: int) -> Any:
        return [row for rows in pythons for row in rows]

    def split(self, python: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        parts, start = [], 0
        for size in sizes:
            parts.append(python[start : start + size])
            start += size
        return parts

    def joinable(self, python: Any, axis: int) -> Hashable:
        return None
