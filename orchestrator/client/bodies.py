"""The arguments of a call -> the body of its request: JSON, a form where there are files, or one value as it is.

Files that a caller names by path are read here; nothing else is I/O.
"""

import io
import mimetypes
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from orchestrator.client.endpoints import Endpoint, Form, form_of
from orchestrator.errors import InvalidInput

__all__ = ["FilePart", "jsonable", "multipart", "request_body"]

_BINARY: Final = "application/octet-stream"
_FILES: Final = frozenset({Form.FILE, Form.IMAGE})
_URLS: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file to send."""

    content: bytes
    media_type: str
    filename: str | None = None


def request_body(endpoint: Endpoint, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, bytes]:
    """Content type and body of a call.

    Args:
        args: by position, in the order of the method's own arguments.
        kwargs: by name.

    Raises:
        TypeError: not this API's arguments.
        InvalidInput: a value cannot be sent, or its file cannot be read.
    """
    if endpoint.root is not None:
        alone = endpoint.bind_root(args, kwargs)
        return _root_body(endpoint.root, *alone) if alone else ("application/json", b"")
    given = endpoint.bind(args, kwargs)
    forms = {name: form_of(endpoint.parameters[name]) for name in given}
    if not any(forms[name] in _FILES or _is_content(value) for name, value in given.items()):
        return "application/json", _json(given, endpoint.name)
    fields: list[tuple[str, FilePart | bytes]] = []
    for name, value in given.items():
        is_file = forms[name] in _FILES
        if value is None and is_file and name not in endpoint.required:
            continue
        several = isinstance(value, (list, tuple)) and (is_file or (bool(value) and all(map(_is_content, value))))
        if value is None or value == [] or not (is_file or several or _is_content(value)):
            fields.append((name, _json(value, name)))
        else:
            fields.extend((name, _file(each)) for each in (value if several else (value,)))
    return multipart(fields)


def multipart(fields: Iterable[tuple[str, FilePart | bytes]]) -> tuple[str, bytes]:
    """A form: content type and body. Fields that are `bytes` are JSON documents."""
    boundary = secrets.token_hex(16)
    out = io.BytesIO()
    for name, value in fields:
        out.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'.encode())
        if isinstance(value, FilePart):
            if value.filename is not None:
                out.write(f'; filename="{_quoted(value.filename)}"'.encode())
            out.write(f"\r\nContent-Type: {value.media_type}".encode())
        content = value.content if isinstance(value, FilePart) else value
        out.write(b"\r\n\r\n")
        out.write(content)
        out.write(b"\r\n")
    out.write(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", out.getvalue()


def jsonable(value: Any) -> Any:
    """What JSON does not know, as something that it does.

    Raises:
        TypeError: there is no such form.
    """
    if isinstance(value, np.ndarray):
        return value.tolist()  # text, and layouts that orjson does not read
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if _is_of(value, "pandas"):
        orient = "records" if value.ndim == 2 else "values"
        return orjson.Fragment(value.to_json(date_format="iso", orient=orient))
    if _is_of(value, "torch"):
        return value.detach().cpu().numpy().tolist()
    if hasattr(value, "numpy"):
        return value.numpy().tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _root_body(schema: Mapping[str, Any], value: Any) -> tuple[str, bytes]:
    form = form_of(schema)
    if form in _FILES or _is_content(value):
        file = _file(value)
        if isinstance(file, FilePart):
            return file.media_type, file.content
        return "text/plain; charset=utf-8", str(value).encode()
    if isinstance(value, str) and form in (Form.TEXT, Form.BYTES):
        return "text/plain; charset=utf-8", value.encode()
    return "application/json", _json(value, "the body")


def _json(value: Any, what: str) -> bytes:
    try:
        return orjson.dumps(value, default=jsonable, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{what} has no JSON form: {error}") from error


def _is_content(value: Any) -> bool:
    """Whether a value can only be the content of a file."""
    return isinstance(value, (bytes, bytearray, memoryview, os.PathLike, io.IOBase)) or _is_of(value, "PIL")


def _file(value: Any) -> FilePart | bytes:
    """A file's content, from whatever stands for it; an address of the web is sent as one."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return FilePart(bytes(value), _BINARY)
    if _is_of(value, "PIL"):
        name = getattr(value, "format", None) or "PNG"
        buffer = io.BytesIO()
        value.save(buffer, format=name)
        return FilePart(buffer.getvalue(), f"image/{name.lower()}", f"image.{name.lower()}")
    if isinstance(value, str) and value.startswith(_URLS):
        return orjson.dumps(value)
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
        return FilePart(content, mimetypes.guess_type(path.name)[0] or _BINARY, path.name)
    if hasattr(value, "read"):
        content = value.read()
        name = getattr(value, "name", None)
        filename = Path(name).name if isinstance(name, str) else None
        media_type = mimetypes.guess_type(filename)[0] if filename else None
        return FilePart(content if isinstance(content, bytes) else content.encode(), media_type or _BINARY, filename)
    raise InvalidInput(f"a file is a path, an open file, bytes, an image or a web address, not {type(value).__name__}")


def _is_of(value: Any, package: str) -> bool:
    """Whether the value's class, or one that it comes from, is of a package."""
    return any(cls.__module__.partition(".")[0] == package for cls in type(value).__mro__)


def _quoted(text: str) -> str:
    """As the HTML standard has it."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
