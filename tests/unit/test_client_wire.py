"""The client without a network: schemas, bodies, results, errors, BentoML's own forms of them included."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from orchestrator.client.bodies import request_body
from orchestrator.client.endpoints import Endpoint, Form, form_of, read_schema
from orchestrator.client.results import ChunkReader, result_of
from orchestrator.client.wire import error_of
from orchestrator.errors import (
    BackendUnavailable,
    CallError,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
    RequestFailed,
    ServiceFault,
)
from orchestrator.server.forms import read_multipart

TEXT: Mapping[str, Any] = {"type": "string"}
FILE: Mapping[str, Any] = {"type": "file", "format": "binary"}


def endpoint(output: Mapping[str, Any] = TEXT, *, root: Mapping[str, Any] | None = None, **parameters: Any) -> Endpoint:
    given: dict[str, Any] = {"properties": parameters, "required": [name for name in parameters if name[0] != "_"]}
    given = {**root, "root_input": True} if root is not None else given
    route = {"name": "run", "route": "/run", "input": given, "output": dict(output)}
    return read_schema(orjson.dumps({"routes": [route]}))["run"]


def nowhere() -> Path:
    raise AssertionError("no file is due")


@pytest.mark.parametrize("document", [b"no JSON", b"[]", b'{"routes": [{}]}', b'{"routes": [{"name": 1}]}', b"{}"])
def test_what_is_no_schema_is_told(document: bytes) -> None:
    with pytest.raises(ServiceFault, match=r"/schema\.json of the server cannot be read"):
        read_schema(document)


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"type": "tensor", "format": "numpy-array"}, Form.TENSOR),
        ({"type": "dataframe"}, Form.TABLE),
        ({"type": "file", "format": "image", "pil": True}, Form.IMAGE),
        ({"type": "file", "format": "audio"}, Form.FILE),
        ({"anyOf": [{"type": "file"}, {"type": "null"}]}, Form.FILE),
        ({"type": "array", "items": {"type": "file"}}, Form.FILE),
        ({"type": "array", "items": {"type": "string"}}, Form.JSON),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, Form.JSON),
        ({"type": "string", "format": "binary"}, Form.BYTES),
        ({"type": "string"}, Form.TEXT),
        ({}, Form.JSON),
    ],
)
def test_the_form_of_a_schema(schema: Mapping[str, Any], form: Form) -> None:
    assert form_of(schema) is form


def test_a_form_survives_awkward_names(tmp_path: Path) -> None:
    name = 'a "quoted"\r\nname'
    file = tmp_path / "x y.bin"
    file.write_bytes(b"--\r\n\x00")
    content_type, body = request_body(endpoint(**{name: FILE, "text": TEXT}), (file, "ü"), {})
    first, second = read_multipart(body, content_type)
    assert (first.content, first.filename, first.media_type) == (b"--\r\n\x00", "x y.bin", "application/octet-stream")
    assert (second.name, second.content) == ("text", '"ü"'.encode())


def test_what_is_left_out_of_a_form() -> None:
    run = endpoint(file=FILE, _more=FILE, _word=TEXT)
    content_type, body = request_body(run, (b"x",), {"_more": None, "_word": None})
    assert [(part.name, part.content) for part in read_multipart(body, content_type)] == [
        ("file", b"x"),
        ("_word", b"null"),
    ]


def test_a_web_address_is_sent_as_one() -> None:
    content_type, body = request_body(endpoint(file=FILE), ("https://example.org/1.png",), {})
    (part,) = read_multipart(body, content_type)
    assert (part.content, part.filename) == (b'"https://example.org/1.png"', None)


def test_an_image_keeps_its_format() -> None:
    content_type, body = request_body(endpoint(root=FILE), (Image.new("RGB", (1, 1)),), {})
    assert (content_type, body[:4]) == ("image/png", b"\x89PNG")


@pytest.mark.parametrize("value", [object(), {"a": object()}])
def test_what_cannot_be_sent_is_told(value: Any) -> None:
    with pytest.raises(InvalidInput, match="no JSON form"):
        request_body(endpoint(text=TEXT), (value,), {})
    with pytest.raises(InvalidInput, match="a file is a path"):
        request_body(endpoint(file=FILE), (7,), {})


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename*=UTF-8''%C3%BC.txt", "ü.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="c:\\\\x\\\\y.txt"', "y.txt"),
        ('attachment; filename=".."', "result.txt"),
        ("attachment", "result.txt"),
        ("", "result.txt"),
    ],
)
def test_a_file_never_leaves_its_folder(tmp_path: Path, disposition: str, name: str) -> None:
    headers = {"content-type": "text/plain", "content-disposition": disposition}
    paths = [result_of(endpoint(FILE), headers, b"x", lambda: tmp_path) for _ in range(2)]
    assert paths[0] == tmp_path / name
    assert paths[1].parent == tmp_path
    assert paths[1].stem == f"{Path(name).stem}-2"


@pytest.mark.parametrize(
    ("output", "content_type", "body", "expected"),
    [
        (TEXT, "text/plain; charset=utf-8", "ü".encode(), "ü"),
        (TEXT, "application/json", b"null", None),
        ({"type": "string", "format": "binary"}, "text/plain", b"\xff", b"\xff"),
        ({"type": "object"}, "application/json", b'{"a": 1}', {"a": 1}),
        (FILE, "application/json", b"null", None),
    ],
)
def test_a_result_is_of_its_schema(output: Mapping[str, Any], content_type: str, body: bytes, expected: Any) -> None:
    assert result_of(endpoint(output), {"content-type": content_type}, body, nowhere) == expected


def read(output: Mapping[str, Any], content_type: str, *pieces: bytes) -> list[Any]:
    reader = ChunkReader(endpoint(output), {"content-type": content_type})
    return [*(chunk for piece in pieces for chunk in reader.feed(piece)), *reader.end()]


def test_chunks_of_text_are_whole_characters() -> None:
    assert read(TEXT, "text/event-stream", b"a\xc3", b"\xbcb") == ["a", "üb"]


def test_chunks_of_lines_are_whole_documents() -> None:
    assert read({}, "application/x-ndjson", b'{"a"', b': 1}\n2\n\n"x', b'"') == [{"a": 1}, 2, "x"]


def test_documents_one_behind_the_other_are_told_apart() -> None:
    assert read({}, "text/event-stream", b'{"a": 1}{"b"', b": 2}[3]4", b"5") == [{"a": 1}, {"b": 2}, [3], 45]


def problem(code: str, **more: Any) -> bytes:
    return orjson.dumps({"type": f"urn:orchestrator:error:{code}", "detail": "no", **more})


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, problem("invalid_input"), InvalidInput, "no"),
        (504, problem("deadline_exceeded"), DeadlineExceeded, "no"),
        (418, problem("request_failed", name="Teapot"), RequestFailed, "no"),
        (404, problem("http"), EndpointNotFound, "no"),
        (400, b'[{"error": "bad"}]', InvalidInput, "the server answered 400: bad"),
        (422, b'{"error": "bad", "detail": [{"loc": ["a"]}]}', InvalidInput, "the server answered 422: bad"),
        (503, b'{"error": "busy"}', BackendUnavailable, "the server answered 503: busy"),
        (429, b'{"error": "Too many requests"}', Overloaded, "the server answered 429: Too many requests"),
        (500, b"<html>", ServiceFault, "the server answered 500: <html>"),
        (418, b"[]", ServiceFault, r"the server answered 418: \[\]"),
    ],
)
def test_an_error_is_the_one_that_was_meant(status: int, body: bytes, kind: type[CallError], message: str) -> None:
    error = error_of(status, {}, body)
    assert type(error) is kind
    with pytest.raises(kind, match=f"^{message}$"):
        raise error


def test_what_numpy_pandas_and_pydantic_hold_is_json() -> None:
    import numpy as np
    import pandas as pd
    from pydantic import BaseModel

    class Point(BaseModel):
        x: int

    frame = pd.DataFrame({"a": [1, 2]})
    values: list[tuple[Any, Any]] = [
        (Point(x=1), {"x": 1}),
        (np.float32(1.5), 1.5),
        (np.array(["a"]), ["a"]),
        (frame, [{"a": 1}, {"a": 2}]),
        (frame["a"], [1, 2]),
        ({1}, [1]),
    ]
    dumped: Callable[[Any], Any] = lambda value: orjson.loads(request_body(endpoint(value=TEXT), (value,), {})[1])  # noqa: E731
    assert [dumped(value)["value"] for value, _ in values] == [expected for _, expected in values]
