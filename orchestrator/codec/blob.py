"""bytes, and what the kinds that are one content have in common."""

from typing import Annotated, Any, ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import PlainValidator, TypeAdapter

from orchestrator.codec.codec import Carrier, Packed, Workspace
from orchestrator.codec.media import (
    blob_of_data_url,
    blob_of_facts,
    check_media_type,
    concrete,
    data_url,
    hint_of_blob,
)
from orchestrator.codec.scalar import only_element
from orchestrator.spec import Blob, DType, ValueKind, ValueSpec

__all__ = ["BlobCodec", "ContentCodec", "bytes_of", "content_tensor", "listed"]

_WAYS = "send a file part, a data: URL or an http(s) URL"


def content_tensor(*contents: bytes) -> NDArray[np.object_]:
    """A BYTES tensor of one axis."""
    tensor = np.empty(len(contents), dtype=object)
    tensor[:] = contents
    return tensor


def bytes_of(element: Any) -> bytes:
    """The content of one element of a BYTES tensor, which a plain Triton client may have filled with text."""
    return element if isinstance(element, bytes) else str(element).encode()


def listed(sent: Any) -> Any:
    """A lone file as a list of one: a form with one part of a name cannot say that it means a list."""
    return [sent] if isinstance(sent, Blob) else sent


def is_data_url(text: str) -> bool:
    """Whether a text is a `data:` URL of base64, and not words that begin like one."""
    head, comma, _ = text[:200].partition(",")
    return bool(comma) and head[:5].lower() == "data:" and head.lower().endswith(";base64")


class ContentCodec:
    """The plain form is a `Blob`; its media type and filename travel as the hint."""

    def carrier(self, value: ValueSpec) -> Carrier:
        return Carrier(DType.BYTES, (1,))

    def edge_type(self, value: ValueSpec) -> Any:
        return Annotated[Any, PlainValidator(lambda sent: self.read(value, sent))]

    def read(self, value: ValueSpec, sent: Any) -> Blob:
        """What came in at the edge.

        Raises:
            ValueError: it is no file, or not of a media type that the argument takes.
        """
        if isinstance(sent, str) and sent[:5].lower() == "data:":
            sent = blob_of_data_url(sent)
        if not isinstance(sent, Blob):
            raise ValueError(f"expected a file: {_WAYS}")
        check_media_type(sent, value.media_types)
        return sent

    def to_json(self, value: ValueSpec, plain: Any) -> bytes:
        return orjson.dumps(data_url(plain))

    def to_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return Packed(content_tensor(plain.content), hint_of_blob(plain))

    def result_tensor(self, value: ValueSpec, plain: Any) -> Packed:
        return self.to_tensor(value, plain)

    def from_tensor(self, value: ValueSpec, packed: Packed) -> Any:
        return blob_of_facts(bytes_of(only_element(packed)), orjson.loads(packed.hint) if packed.hint else None)


class BlobCodec(ContentCodec):
    """bytes. In JSON it is text, as UTF-8; what is not text comes as a data: URL, as a file part or as the body."""

    kind: ClassVar = ValueKind.BLOB

    def read(self, value: ValueSpec, sent: Any) -> Blob:
        if isinstance(sent, str) and not is_data_url(sent):
            try:
                return Blob(sent.encode())
            except UnicodeEncodeError as error:
                raise ValueError("text must be valid Unicode: it holds half of a surrogate pair") from error
        if not isinstance(sent, (str, Blob)):
            raise ValueError("expected text or a file part")
        return super().read(value, sent)

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        check_media_type(plain, value.media_types)
        return adapter.validate_python(plain.content)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        content = adapter.validate_python(bytes(python) if isinstance(python, (bytearray, memoryview)) else python)
        if not isinstance(content, bytes):
            raise ValueError(f"expected bytes, got {type(content).__name__}")
        return Blob(content, concrete(value.media_types))
