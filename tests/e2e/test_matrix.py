"""Every type x in Triton and on the front-end x JSON and forms: what goes in comes out."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e

ITEM = {"name": "ü", "color": "blue", "day": "2026-11-21"}
VALUES: list[tuple[str, Any, Any]] = [
    ("text", 'a "quoted" ü\n', 'a "quoted" ü\n'),
    ("text", "", ""),
    ("integer", -(2**63), -(2**63)),
    ("number", 1e-300, 1e-300),
    ("boolean", True, True),
    ("nothing", None, None),
    ("anything", {"deep": [1, 2.5, None, {"x": "y"}]}, {"deep": [1, 2.5, None, {"x": "y"}]}),
    ("anything", None, None),
    ("listing", [1, 2, 3], [1, 2, 3]),
    ("listing", [], []),
    ("mapping", {"a": 1.5}, {"a": 1.5}),
    ("optional", None, None),
    ("optional", "x", "x"),
    ("union", 3, 3),
    ("union", "three", "three"),
    ("model", ITEM, ITEM),
    ("models", [ITEM, {"name": "b"}], [ITEM, {"name": "b", "color": "red", "day": None}]),
    ("array", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("array", [1.5, 2.5], [1.5, 2.5]),
    ("array", 7, 7),
    ("array", [True, False], [True, False]),
    ("array", [["a", "bc"]], [["a", "bc"]]),
    ("array", [[[1]], [[2**62]]], [[[1]], [[2**62]]]),
    ("array", [], []),
    ("typed_array", [[[0.5]]], [[[0.5]]]),
    ("rows", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("texts", ["a", "", "ü"], ["a", "", "ü"]),
    ("optional_array", None, None),
    ("optional_array", [1, 2], [1, 2]),
    ("raw", "bytes", "bytes"),
    ("table", [{"a": 1, "b": "x"}, {"a": 2, "b": None}], [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    ("columns", {"a": [1, 2], "b": [3.5, 4.5]}, {"a": [1, 2], "b": [3.5, 4.5]}),
]


@pytest.fixture(scope="module", params=["InTriton", "InFrontend"])
def http(request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    with Serving(f"echoes:{request.param}") as server, httpx2.Client(base_url=server.url) as client:
        yield client


def meaning(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text


@pytest.mark.parametrize(("api", "value", "expected"), VALUES, ids=[f"{v[0]}-{n}" for n, v in enumerate(VALUES)])
def test_json(http: httpx2.Client, api: str, value: Any, expected: Any) -> None:
    assert meaning(http.post(f"/{api}", json={"value": value})) == expected


@pytest.mark.parametrize(("api", "value", "expected"), VALUES, ids=[f"{v[0]}-{n}" for n, v in enumerate(VALUES)])
def test_multipart(http: httpx2.Client, api: str, value: Any, expected: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    if api == "raw":
        answer = http.post("/raw", files={"value": ("f.bin", b"\x00\xff")})
        assert answer.content == b"\x00\xff"
        return
    answer = http.post(f"/{api}", files={"value": (None, text.encode())})
    assert meaning(answer) == expected


def test_images_keep_their_pixels_and_format(http: httpx2.Client) -> None:
    out = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(out, "PNG")
    for answer in (
        http.post("/image", files={"value": ("in.png", out.getvalue(), "image/png")}),
        http.post("/image", content=out.getvalue(), headers={"content-type": "image/png"}),
    ):
        assert answer.headers["content-type"] == "image/png"
        assert np.asarray(Image.open(io.BytesIO(answer.content))).reshape(-1).tolist() == list(range(48))


def test_files_keep_content_type_and_name(http: httpx2.Client) -> None:
    answer = http.post("/file", files={"value": ("note.txt", b"hello", "text/plain")})
    assert answer.text == "hello"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "note.txt" in answer.headers["content-disposition"]
    many = http.post("/files", files=[("value", ("a", b"one")), ("value", ("b", b"two"))])
    assert many.json() == ["one", "two"]


def test_npy_bodies(http: httpx2.Client) -> None:
    out = io.BytesIO()
    np.save(out, np.array([[1.5, 2.5]], dtype=np.float32))
    answer = http.post("/array", content=out.getvalue(), headers={"content-type": "application/x-npy"})
    assert answer.json() == [[1.5, 2.5]]
    answer = http.post("/array", json={"value": [[1, 2]]}, headers={"accept": "application/x-npy"})
    assert np.load(io.BytesIO(answer.content)).tolist() == [[1, 2]]


def test_tables_as_csv_arrow_and_parquet(http: httpx2.Client) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    pyarrow = pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    batch = pyarrow.RecordBatch.from_pandas(frame)
    with pyarrow.ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    bodies = {
        "text/csv": b"a,b\n1,x\n2,y\n",
        "application/vnd.apache.parquet": parquet.getvalue(),
        "application/vnd.apache.arrow.stream": stream.getvalue(),
    }
    for media_type, body in bodies.items():
        answer = http.post("/table", content=body, headers={"content-type": media_type})
        assert answer.json() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], media_type


def test_streams(http: httpx2.Client) -> None:
    assert http.post("/stream", json={"value": ["a", "b"]}).text == "ab"
    assert http.post("/objects", json={"value": [1, 2]}).text == '{"item":1}\n{"item":2}\n'


def test_roots_and_spread_arguments(http: httpx2.Client) -> None:
    assert http.post("/root", json=ITEM).json() == ITEM
    assert http.post("/root_text", content="plain ü".encode()).text == "plain ü"
    body = {"first": 1, "more": [2, 3], "named": {"k": "v"}}
    assert http.post("/spread", json=body).json() == body


def test_an_urlencoded_form(http: httpx2.Client) -> None:
    assert http.post("/integer", data={"value": "7"}).json() == 7
    assert http.post("/text", data={"value": "7"}).text == "7"
