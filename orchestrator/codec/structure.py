"""Lists, dicts, pydantic models, unions, None, Any: one JSON document in one BYTES element."""

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import TypeAdapter, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from orchestrator.codec.codec import Carrier, Packed, Workspace
from orchestrator.codec.scalar import native, only_element
from orchestrator.codec.schema import type_of_schema
from orchestrator.spec import DType, ValueKind, ValueSpec

__all__ = ["JsonCodec", "document_of", "json_fallback"]


def json_fallback(value: Any) -> Any:
    """JSON form of what pydantic does not know: numpy arrays and numbers inside dicts and lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"a value of type {type(value).__name__} has no JSON form")


def _checked_document(value: Any, check: ValidatorFunctionWrapHandler) -> bytes:
    """The caller's own document once it has passed the check: what the schema does not know is not lost."""
    check(value)
    return document_of(value)


def document_of(value: Any) -> bytes:
    """A JSON value as a document, infinity and NaN as Python's JSON writes them.

    Raises:
        ValueError: it holds text that is not Unicode.
    """
    try:
        return to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise ValueError("text must be valid Unicode: it holds half of a surrogate pair") from error


class JsonCodec:
    """The plain form is the JSON document itself, as UTF-8 bytes: it crosses the front-end unparsed on its way out."""

    kind: ClassVar = ValueKind.JSON

    def carrier(self, value: ValueSpec) -> Carrier:
        return Carrier(DType.BYTES, (1,))

    def edge_type(self, value: ValueSpec) -> Any:
        return Annotated[type_of_schema(value.json_schema, opaque=value.opaque), WrapValidator(_checked_document)]

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        return bytes(plain)

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        tensor = np.empty(1, dtype=object)
        tensor[0] = plain
        return Packed(tensor)

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_tensor(value, plain)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        element = only_element(packed)
        return element if isinstance(element, bytes) else str(element).encode()

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        return adapter.validate_json(plain)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        try:
            checked = adapter.validate_python(native(python))
        except ValueError:
            # numpy inside a typed container: one more try with plain Python numbers before it is refused.
            checked = adapter.validate_python(to_jsonable_python(python, fallback=json_fallback))
        return adapter.dump_json(checked, fallback=json_fallback, by_alias=True)
