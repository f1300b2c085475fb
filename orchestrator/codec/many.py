"""Lists of files, images, bytes or arrays: one tensor element each, whatever their sizes."""

from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import BeforeValidator, TypeAdapter

from orchestrator.codec.array import ArrayCodec
from orchestrator.codec.blob import BlobCodec, bytes_of, content_tensor, listed
from orchestrator.codec.codec import Carrier, Codec, Packed, Workspace
from orchestrator.codec.file import FileCodec
from orchestrator.codec.image import ImageCodec
from orchestrator.codec.media import blob_of_facts, facts_of
from orchestrator.codec.npy import read_npy, write_npy
from orchestrator.spec import ANY, DType, ValueKind, ValueSpec

__all__ = ["ManyCodec"]

_ITEM_CODECS: Final[dict[ValueKind, Codec]] = {
    codec.kind: codec for codec in (BlobCodec(), FileCodec(), ImageCodec(), ArrayCodec())
}
_UNCHECKED: Final = TypeAdapter(Any)
"""For the items: the list's own adapter checks them."""


class ManyCodec:
    """The plain form is a list of the items' plain forms; arrays travel as NPY files."""

    kind: ClassVar = ValueKind.MANY

    def carrier(self, value: ValueSpec) -> Carrier:
        return Carrier(DType.BYTES, (ANY,))

    def edge_type(self, value: ValueSpec) -> Any:
        codec, item = _item(value)
        return Annotated[list[codec.edge_type(item)], BeforeValidator(listed)]  # type: ignore[misc]

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        codec, item = _item(value)
        return b"[" + b",".join(codec.to_json(item, one) for one in plain) + b"]"

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        _, item = _item(value)
        if item.kind is ValueKind.ARRAY:
            return Packed(content_tensor(*(write_npy(array) for array in plain)))
        facts = [facts_of(blob) for blob in plain]
        hint = orjson.dumps(facts).decode() if any(facts) else ""
        return Packed(content_tensor(*(blob.content for blob in plain)), hint)

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_tensor(value, plain)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        _, item = _item(value)
        contents = [bytes_of(element) for element in packed.tensor.reshape(-1)]
        if item.kind is ValueKind.ARRAY:
            return [read_npy(content).copy() for content in contents]
        facts = orjson.loads(packed.hint) if packed.hint else [None] * len(contents)
        if not isinstance(facts, list) or len(facts) != len(contents):
            raise ValueError(f"the hint of {len(contents)} files must be a list of as many")
        return [blob_of_facts(content, its) for content, its in zip(contents, facts, strict=True)]

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        codec, item = _item(value)
        return adapter.validate_python([codec.to_python(item, one, _UNCHECKED, workspace) for one in plain])

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        codec, item = _item(value)
        return [codec.from_python(item, one, _UNCHECKED) for one in adapter.validate_python(python)]


def _item(value: ValueSpec) -> tuple[Codec, ValueSpec]:
    if value.item is None:
        raise ValueError("a list needs a description of its items")
    return _ITEM_CODECS[value.item.kind], value.item
