"""The body of a reply -> the result of the call, by the server's schema. Sans I/O, but for the files that a result is."""

import codecs
import contextlib
import io
import itertools
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import orjson

from orchestrator.client.endpoints import Endpoint, Form, form_of
from orchestrator.codec.npy import NPY, read_npy

__all__ = ["ChunkReader", "accepted", "essence", "filename_of", "json_value", "parts_of", "result_of"]

_JSON: Final = ("application/json", "application/x-ndjson")
_FILES: Final = (Form.FILE, Form.IMAGE)
_JSON_DECODER: Final = json.JSONDecoder()
_MOST_NAME: Final = 200


def accepted(endpoint: Endpoint) -> str:
    """What to ask for, in the words of the header `Accept`."""
    exact = form_of(endpoint.output) is Form.TENSOR and not endpoint.stream
    return f"{NPY}, */*;q=0.5" if exact else "*/*"


def result_of(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, folder: Callable[[], Path]) -> Any:
    """The result of a call that went well.

    Args:
        headers: names in lower case.
        folder: where the files of results go.

    Returns:
        A `str`, `bytes`, numpy array, pandas table, image, path of a file, or what JSON has.
    """
    form = form_of(endpoint.output)
    content_type = headers.get("content-type", "")
    if form in _FILES and essence(content_type) == "multipart/mixed":
        return [_file(form, its, content, folder) for its, content in parts_of(content_type, body)]
    if essence(content_type) in _JSON and (form not in _FILES or body == b"null"):
        return json_value(orjson.loads(body), endpoint.output, form)
    if essence(content_type) == NPY:
        return read_npy(body)
    if form is Form.BYTES:
        return body
    if form is Form.TEXT or (form not in _FILES and content_type.startswith("text/")):
        return body.decode()
    return _file(form, headers, body, folder)


class ChunkReader:
    """The chunks of a stream, from the pieces that a connection gives.

    Text comes as it comes: the server's chunks cannot be told apart. Other values come one by one.
    """

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._schema = endpoint.output
        self._form = form_of(endpoint.output)
        self._lines = essence(headers.get("content-type", "")) == "application/x-ndjson"
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The chunks that are complete with this piece."""
        return self._read(piece, final=False)

    def end(self) -> Iterator[Any]:
        """The chunk that only the end completes, if there is one."""
        return self._read(b"", final=True)

    def _read(self, piece: bytes, *, final: bool) -> Iterator[Any]:
        if self._form is Form.BYTES:
            yield from (piece,) if piece else ()
            return
        text = self._text.decode(piece, final)
        if self._form is Form.TEXT and not self._lines:
            yield from (text,) if text else ()
            return
        self._rest += text
        yield from (json_value(value, self._schema, self._form) for value in self._documents(final))

    def _documents(self, final: bool) -> Iterator[Any]:
        if self._lines:
            *whole, self._rest = self._rest.split("\n")
            if final:
                whole, self._rest = [*whole, self._rest], ""
            yield from (orjson.loads(line) for line in whole if line.strip())
            return
        while self._rest:  # one document behind the other, as BentoML writes them
            try:
                value, end = _JSON_DECODER.raw_decode(self._rest)
            except ValueError:
                break
            if end == len(self._rest) and not final and not isinstance(value, (dict, list, str)):
                break  # more of a number may follow
            self._rest = self._rest[end:].lstrip()
            yield value


def json_value(value: Any, schema: Mapping[str, Any], form: Form) -> Any:
    """What a value of JSON's stands for: an array, a table, or itself."""
    if value is None:
        return None
    if form is Form.TENSOR:
        return np.array(value, dtype=_dtype(schema))
    if form is Form.TABLE:
        import pandas

        return pandas.DataFrame(value)
    return value


def _dtype(schema: Mapping[str, Any]) -> Any:
    for candidate in (schema, *schema.get("anyOf", ())):
        if candidate.get("dtype"):
            return candidate["dtype"]
    return None


def essence(content_type: str) -> str:
    """The media type alone, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def parts_of(content_type: str, body: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """Headers and content of the parts of a `multipart/mixed` body."""
    boundary = _parameter("content-type", content_type, "boundary") or ""
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode(errors="replace").split("\r\n"))
        yield {name.strip().lower(): value.strip() for name, _, value in lines}, content.removesuffix(b"\r\n")


def _file(form: Form, headers: Mapping[str, str], content: bytes, folder: Callable[[], Path]) -> Any:
    if form is Form.IMAGE:
        from PIL import Image

        return Image.open(io.BytesIO(content))
    name = filename_of(headers.get("content-disposition", ""))
    if name is None:
        name = f"result{mimetypes.guess_extension(essence(headers.get('content-type', ''))) or ''}"
    return _saved(folder(), name, content)


def _saved(folder: Path, name: str, content: bytes) -> Path:
    pure = PurePosixPath(name)
    for number in itertools.count(1):
        path = folder / (name if number == 1 else f"{pure.stem}-{number}{pure.suffix}")
        with contextlib.suppress(FileExistsError), path.open("xb") as file:
            file.write(content)
            break
    return path


def filename_of(disposition: str) -> str | None:
    """The last part of the name that the server gives: never a path of its choice."""
    given = _parameter("content-disposition", disposition, "filename") or ""
    name = PurePosixPath(given.replace("\\", "/")).name
    return name[-_MOST_NAME:] if name not in ("", ".", "..") and name.isprintable() else None


def _parameter(header: str, value: str, name: str) -> str | None:
    message = Message()
    message[header] = value
    found = message.get_param(name, header=header)
    return collapse_rfc2231_value(found) if found else None
