"""The body of a reply -> the result of the call, by the server's schema. Sans I/O, but for the files that a result is."""

import codecs
import contextlib
import io
import itertools
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import orjson

from orchestrator.client.endpoints import Endpoint, Form, form_of

__all__ = ["ChunkReader", "result_of"]

_JSON: Final = ("application/json", "application/x-ndjson")
_FILES: Final = (Form.FILE, Form.IMAGE)
_JSON_DECODER: Final = json.JSONDecoder()
_MOST_NAME: Final = 200


def result_of(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, folder: Callable[[], Path]) -> Any:
    """The result of a call that went well.

    Args:
        headers: names in lower case.
        folder: where the files of results go.

    Returns:
        A `str`, `bytes`, numpy array, pandas table, image, path of a file, or what JSON has.
    """
    form = form_of(endpoint.output)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _JSON and form not in _FILES:
        return _from_json(orjson.loads(body), endpoint.output, form)
    if form is Form.BYTES:
        return body
    if form is Form.TEXT or (form not in _FILES and media_type.startswith("text/")):
        return body.decode()
    if media_type in _JSON and body == b"null":
        return None
    if form is Form.IMAGE:
        from PIL import Image

        return Image.open(io.BytesIO(body))
    return _saved(folder(), headers, media_type, body)


class ChunkReader:
    """The chunks of a stream, from the pieces that a connection gives.

    Text comes as it comes: the server's chunks cannot be told apart. Other values come one by one.
    """

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._schema = endpoint.output
        self._form = form_of(endpoint.output)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._lines = media_type == "application/x-ndjson"
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
        yield from (_from_json(value, self._schema, self._form) for value in self._documents(final))

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


def _from_json(value: Any, schema: Mapping[str, Any], form: Form) -> Any:
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


def _saved(folder: Path, headers: Mapping[str, str], media_type: str, body: bytes) -> Path:
    name = _filename(headers.get("content-disposition", ""))
    if name is None:
        name = f"result{mimetypes.guess_extension(media_type) or ''}"
    pure = PurePosixPath(name)
    for number in itertools.count(1):
        path = folder / (name if number == 1 else f"{pure.stem}-{number}{pure.suffix}")
        with contextlib.suppress(FileExistsError), path.open("xb") as file:
            file.write(body)
            break
    return path


def _filename(disposition: str) -> str | None:
    """The last part of the name that the server gives: never a path of its choice."""
    message = Message()
    message["content-disposition"] = disposition
    name = PurePosixPath((message.get_filename() or "").replace("\\", "/")).name
    return name[-_MOST_NAME:] if name not in ("", ".", "..") and name.isprintable() else None
