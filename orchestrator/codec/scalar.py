"""str, int, float, bool: one typed element each."""

from typing import Any, ClassVar

import numpy as np
import orjson
from pydantic import TypeAdapter

from orchestrator.codec.codec import Carrier, Packed, Workspace
from orchestrator.codec.schema import type_of_schema
from orchestrator.spec import DType, ValueKind, ValueSpec

__all__ = ["BooleanCodec", "IntegerCodec", "NumberCodec", "TextCodec", "native"]


def native(value: Any) -> Any:
    """A numpy scalar (or zero-dimensional array) as the Python number that it is; anything else unchanged."""
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


def only_element(packed: Packed) -> Any:
    if packed.tensor.size != 1:
        raise ValueError(f"expected one element, got an array of shape {list(packed.tensor.shape)}")
    return packed.tensor.reshape(-1)[0]


class _ScalarCodec:
    """What the four have in common: one element, validated by pydantic on both sides."""

    dtype: ClassVar[DType]

    def carrier(self, value: ValueSpec) -> Carrier:
        return Carrier(self.dtype, (1,))

    def edge_type(self, value: ValueSpec) -> Any:
        return type_of_schema(value.json_schema, opaque=value.opaque)

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        return orjson.dumps(plain)

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return Packed(np.array([plain], dtype=self.dtype.numpy))

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_tensor(value, plain)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        return only_element(packed).item()

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        return adapter.validate_python(plain)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        return adapter.dump_python(adapter.validate_python(native(python)), mode="json")


class TextCodec(_ScalarCodec):
    """str, as UTF-8."""

    kind: ClassVar = ValueKind.TEXT
    dtype = DType.BYTES

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        tensor = np.empty(1, dtype=object)
        try:
            tensor[0] = plain.encode()
        except UnicodeEncodeError as error:
            raise ValueError("text must be valid Unicode: it holds half of a surrogate pair") from error
        return Packed(tensor)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        element = only_element(packed)
        return element.decode() if isinstance(element, bytes) else str(element)


class IntegerCodec(_ScalarCodec):
    """int within 64 bits."""

    kind: ClassVar = ValueKind.INTEGER
    dtype = DType.INT64

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        if not -(2**63) <= plain < 2**63:
            raise ValueError("whole numbers must fit in 64 bits")
        return super().to_tensor(value, plain)


class NumberCodec(_ScalarCodec):
    """float, as FP64."""

    kind: ClassVar = ValueKind.NUMBER
    dtype = DType.FP64


class BooleanCodec(_ScalarCodec):
    """bool."""

    kind: ClassVar = ValueKind.BOOLEAN
    dtype = DType.BOOL
