"""Calls of an API whose class is known: plain values by the spec -> a request, and an answer back. Sans I/O."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import orjson
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from orchestrator.client.bodies import FilePart, multipart
from orchestrator.client.endpoints import Endpoint
from orchestrator.client.exchange import EVENTS, Chunks, EventChunks, Exchange, is_events
from orchestrator.client.results import ChunkReader, essence, filename_of, parts_of
from orchestrator.client.wire import WireRequest
from orchestrator.codec.media import UNKNOWN
from orchestrator.codec.npy import NPY, read_npy
from orchestrator.codec.registry import codec_of
from orchestrator.spec import ApiSpec, Blob, ValueKind, ValueSpec

__all__ = ["TypedApi"]

_JSON: Final = "application/json"
_FILES: Final = frozenset({ValueKind.BLOB, ValueKind.FILE, ValueKind.IMAGE})
_TEXT: Final = "text/plain; charset=utf-8"
_FRAMED: Final[Mapping[ValueKind, Mapping[str, Any]]] = {
    ValueKind.TEXT: {"type": "string"},
    ValueKind.BLOB: {"type": "string", "format": "binary"},
}
"""Kinds whose chunks follow each other as they are, with their schema; others are one JSON document each."""


class TypedApi:
    """One API.

    Args:
        api: as the class has it.
    """

    def __init__(self, api: ApiSpec) -> None:
        self._api = api
        self._value = api.result
        self._adapter: TypeAdapter[Any] | None = None

    def exchange(self, arguments: Mapping[str, Any]) -> Exchange:
        """A call.

        Args:
            arguments: plain forms by name; those left to their defaults are missing.
        """
        content_type, body = self._body(arguments)
        headers = {"content-type": content_type, "accept": self._accept()}
        return Exchange(WireRequest("POST", self._api.route, headers, body), self._result, self._chunks)

    def _accept(self) -> str:
        if not self._api.stream:
            return f"{NPY}, */*;q=0.5" if self._value.kind is ValueKind.ARRAY else "*/*"
        # A method that says itself what its stream is may make the events itself.
        own = self._api.context is not None or EVENTS in self._value.media_types
        return "*/*" if own else f"{EVENTS}, */*;q=0.5"

    def _body(self, arguments: Mapping[str, Any]) -> tuple[str, bytes]:
        values = {argument.name: argument.value for argument in self._api.arguments}
        if self._api.root:
            ((name, value),) = values.items()
            return _root_body(value, arguments[name]) if name in arguments else (_JSON, b"")
        if not any(_files(values[name], plain) for name, plain in arguments.items()):
            document = {name: orjson.Fragment(_json(values[name], plain)) for name, plain in arguments.items()}
            return _JSON, orjson.dumps(document)
        fields: list[tuple[str, FilePart | bytes]] = []
        for name, plain in arguments.items():
            files = _files(values[name], plain)
            if plain is None and values[name].kind in _FILES:
                continue  # a form cannot say that there is no file but by leaving it away
            fields += [(name, file) for file in files] or [(name, _json(values[name], plain))]
        return multipart(fields)

    def _result(self, headers: Mapping[str, str], body: bytes) -> Any:
        """The plain form of a result.

        Raises:
            ValueError: the body is none.
        """
        kind, content_type = self._value.kind, headers.get("content-type", "")
        media_type = essence(content_type)
        if self._value.nullable and media_type == _JSON and body == b"null":
            return None
        if kind is ValueKind.TEXT:
            return body.decode()
        if media_type == "multipart/mixed":
            return self._plain([_blob(its, content) for its, content in parts_of(content_type, body)])
        if kind in _FILES:
            return self._plain(_blob(headers, body))
        if media_type == NPY:
            array = read_npy(body)
            return self._plain(array if array.flags.writeable else array.copy())
        if kind is ValueKind.TABLE and media_type != _JSON:
            return self._plain(Blob(body, content_type))
        if kind is ValueKind.JSON:
            # BentoML sends text as text, whatever its annotation.
            return to_json(body.decode()) if media_type.startswith("text/") else body
        return self._plain(from_json(body))

    def _chunks(self, headers: Mapping[str, str]) -> Chunks:
        if is_events(headers) and EVENTS in self._accept():
            return EventChunks(self._of_event)
        schema = _FRAMED.get(self._value.kind, {})
        endpoint = Endpoint(self._api.name, self._api.route, None, {}, frozenset(), None, schema, True)
        return _Read(ChunkReader(endpoint, headers), self._chunk)

    def _of_event(self, text: str) -> Any:
        if self._value.kind is ValueKind.TEXT:
            return text
        if self._value.nullable and text == "null":
            return None
        return text.encode() if self._value.kind is ValueKind.JSON else self._plain(from_json(text))

    def _chunk(self, sent: Any) -> Any:
        if self._value.kind is ValueKind.TEXT or (sent is None and self._value.nullable):
            return sent
        if self._value.kind is ValueKind.JSON:
            return to_json(sent, inf_nan_mode="constants")
        return self._plain(Blob(sent) if isinstance(sent, bytes) else sent)

    def _plain(self, sent: Any) -> Any:
        """What came, as a front-end reads arguments."""
        if self._adapter is None:
            self._adapter = TypeAdapter(codec_of(self._value.kind).edge_type(self._value))
        return self._adapter.validate_python(sent)


class _Read:
    """A reader whose chunks become something else."""

    def __init__(self, chunks: Chunks, read: Callable[[Any], Any]) -> None:
        self._chunks = chunks
        self._read = read

    def feed(self, piece: bytes) -> Iterator[Any]:
        return map(self._read, self._chunks.feed(piece))

    def end(self) -> Iterator[Any]:
        return map(self._read, self._chunks.end())


def _root_body(value: ValueSpec, plain: Any) -> tuple[str, bytes]:
    if plain is not None and value.kind is ValueKind.TEXT:
        return _TEXT, plain.encode()
    if plain is not None and value.kind in _FILES:
        return plain.media_type or UNKNOWN, plain.content
    return _JSON, _json(value, plain)


def _json(value: ValueSpec, plain: Any) -> bytes:
    """A plain form as JSON, NaN and infinity included, which the strict writers make `null`."""
    if plain is None:
        return b"null"
    if value.kind is ValueKind.NUMBER:
        return to_json(plain, inf_nan_mode="constants")
    if value.kind is ValueKind.ARRAY and plain.dtype.kind == "f" and not np.isfinite(plain).all():
        return to_json(plain.tolist(), inf_nan_mode="constants")
    return codec_of(value.kind).to_json(value, plain)


def _files(value: ValueSpec, plain: Any) -> list[FilePart]:
    """The files that a value is, as parts of a form; none for what JSON has."""
    kind = value.item.kind if value.item is not None else value.kind
    if plain is None or kind not in _FILES:
        return []
    blobs: list[Blob] = [plain] if value.item is None else plain
    return [FilePart(blob.content, blob.media_type or UNKNOWN, blob.filename) for blob in blobs]


def _blob(headers: Mapping[str, str], content: bytes) -> Blob:
    name = filename_of(headers.get("content-disposition", ""))
    return Blob(content, headers.get("content-type") or None, name)
