"""A result's plain form -> the body of an answer, in the form that its caller would rather have."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from orchestrator.codec import codec_of
from orchestrator.codec.media import UNKNOWN, canonical, concrete
from orchestrator.codec.npy import NPY, write_npy
from orchestrator.server.media import CSV, JSON, is_files, preferred
from orchestrator.server.tables import table_types, write_table
from orchestrator.spec import Blob, ValueKind, ValueSpec

__all__ = ["TEXT", "Body", "ResultWriter", "result_types"]

TEXT: Final = "text/plain; charset=utf-8"
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f"\\/]')
_NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}
_VARIES: Final = {"Vary": "Accept"}


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer, and what its headers say of it."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def result_types(value: ValueSpec) -> tuple[str, ...]:
    """The media types that a result is sent as, the default first; patterns where the method decides."""
    match value.kind:
        case ValueKind.TEXT:
            return (_text_type(value),)
        case ValueKind.ARRAY:
            return (JSON, NPY)
        case ValueKind.TABLE:
            return table_types()
        case ValueKind.MANY | ValueKind.ROWS if is_files(value):
            return ("multipart/mixed",)
        case ValueKind.IMAGE:
            return value.media_types or ("image/*",)
        case ValueKind.BLOB:
            return value.media_types or (UNKNOWN,)
        case ValueKind.FILE:
            return value.media_types or ("*/*",)
        case _:
            return (concrete(value.media_types) or JSON,)


class ResultWriter:
    """Writes the results of one API."""

    def __init__(self, value: ValueSpec) -> None:
        self._value = value
        self._codec = codec_of(value.kind)
        self._offers = result_types(value)

    def write(self, plain: Any, accept: str) -> Body:
        """Writes one result.

        Args:
            accept: the request's `Accept` header.
        """
        value = self._value
        if plain is None and value.nullable:
            return Body(b"null", JSON)
        match value.kind:
            case ValueKind.TEXT:
                return Body(str(plain).encode(), self._offers[0])
            case ValueKind.BLOB | ValueKind.IMAGE | ValueKind.FILE:
                return _file(plain, value)
            case ValueKind.MANY | ValueKind.ROWS if is_files(value):
                return _several(plain, value.item or value)
            case ValueKind.TABLE:
                media_type = preferred(accept, self._offers)
                told = f"{CSV}; charset=utf-8" if media_type == CSV else media_type
                return Body(write_table(value, plain, media_type), told, _VARIES)
            case ValueKind.ARRAY:
                if preferred(accept, self._offers) == NPY:
                    return Body(write_npy(plain), NPY, _VARIES)
                return Body(self._codec.to_json(value, plain), JSON, _VARIES)
            case _:
                return Body(self._codec.to_json(value, plain), self._offers[0])


def _text_type(value: ValueSpec) -> str:
    media_type = concrete(value.media_types)
    if media_type is None:
        return TEXT
    is_bare = media_type.startswith("text/") and "charset=" not in media_type
    return f"{media_type}; charset=utf-8" if is_bare else media_type


def _file(blob: Blob, value: ValueSpec) -> Body:
    media_type = blob.media_type or concrete(value.media_types) or UNKNOWN
    return Body(blob.content, media_type, {**_NO_SNIFFING, **_disposition(blob, value.kind, media_type)})


def _disposition(blob: Blob, kind: ValueKind, media_type: str) -> dict[str, str]:
    """How a browser is to take a file, and its name (RFC 6266)."""
    if kind is ValueKind.BLOB and not blob.filename:
        return {}
    # An SVG may hold scripts.
    shown = media_type.startswith("image/") and canonical(media_type) != "image/svg+xml"
    words = "inline" if shown else "attachment"
    name = _UNSAFE.sub("_", PurePath(blob.filename or "").name)
    if name:
        plain = name.encode("ascii", "replace").decode().replace("?", "_")
        words += f'; filename="{plain}"'
        if plain != name:
            words += f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return {"Content-Disposition": words}


def _several(blobs: list[Blob], item: ValueSpec) -> Body:
    """Files, each with its own type, as one body (RFC 2046, 5.1)."""
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for blob in blobs:
        part = _file(blob, item)
        headers = {"Content-Type": part.media_type, **_disposition(blob, item.kind, part.media_type)}
        lines.append(f"--{boundary}\r\n".encode())
        lines += [f"{name}: {text}\r\n".encode("latin-1", "replace") for name, text in headers.items()]
        lines += [b"\r\n", part.content, b"\r\n"]
    lines.append(f"--{boundary}--\r\n".encode())
    return Body(b"".join(lines), f"multipart/mixed; boundary={boundary}")
