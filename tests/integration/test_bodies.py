"""What a request's body may be: JSON, forms, files, tables, arrays; the fields of a call in all of them."""

import base64
import gc
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from orchestrator.server import FrontendOptions
from orchestrator.testing import local_client
from tests.integration.live import live_server
from tests.integration.test_calls import problem_of
from tests.services.greeter import Greeter
from tests.services.media import Batches, Media


def image(width: int = 3, height: int = 2, image_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, image_format)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


PNG = image()
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
BOUNDARY = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def media() -> Iterator[TestClient]:
    with local_client(Media, options=FrontendOptions(max_body_bytes=200_000)) as client:
        yield client


# --- forms ---

MIXED = ["7", 7.0, True, {"x": 3, "label": "here"}, ["a", "2"], 5, None]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "7", "number": "7", "flag": "true", "point": '{"x": 3}', "words": ["a", "2"], "either": "5"},
        {"text": '"7"', "number": "7.0", "flag": "on", "point": '{"x":3}', "words": '["a", "2"]', "either": "5"},
        {"text": "7", "number": " 7", "flag": "1", "point": ' {"x":3}', "words": ['"a"', '"2"'], "either": " 5 "},
    ],
)
@pytest.mark.parametrize("multipart", [False, True])
def test_a_form_holds_fields_of_every_type(media: TestClient, fields: dict[str, Any], multipart: bool) -> None:
    if multipart:
        answer = media.post("/mixed", data=fields, files={"file": ("a", b"abc")})
        assert answer.json() == [*MIXED[:-1], 3]
    else:
        assert media.post("/mixed", data=fields).json() == MIXED


@pytest.mark.parametrize(
    ("text", "read"),
    [("hello", "hello"), ("7", "7"), ("null", "null"), ('"x"', "x"), ('"', '"'), ("[1]", "[1]"), ("", "")],
)
def test_text_in_a_form_stays_what_it_is_but_for_a_json_string(media: TestClient, text: str, read: str) -> None:
    fields = {"number": "1", "flag": "1", "point": "{}", "words": "[]", "either": "1"}
    assert media.post("/mixed", data={**fields, "text": text}).json()[0] == read


def test_the_type_of_a_part_decides_where_it_is_said(media: TestClient) -> None:
    fields = {"number": "1", "flag": "1", "point": "{}", "words": "[]"}
    for given_type, text in (("text/plain", '"7"'), ("application/json", "7")):
        files = {"text": (None, '"7"', given_type), "either": (None, '"5"', given_type)}
        assert media.post("/mixed", data=fields, files=files).json()[0] == text
    broken: dict[str, Any] = {"text": (None, "x"), "either": (None, "5"), "point": (None, "{", "application/json")}
    problem = problem_of(media.post("/mixed", data={**fields, "point": []}, files=broken), 400)
    assert problem["errors"][0]["loc"] == ["point"]
    assert problem["errors"][0]["type"] == "json_invalid"


def test_one_item_of_a_list_is_a_list(media: TestClient) -> None:
    files = {"files": ("a", b"abc")}
    assert media.post("/sizes", files=files).json() == [[3], None]
    assert media.post("/sizes", files=files, data={"labels": "x"}).json() == [[3], ["x"]]
    assert media.post(
        "/sizes", files=[("files", b"1"), ("files", ("b", b"22"))], data={"labels": ["x", "1"]}
    ).json() == [
        [1, 2],
        ["x", "1"],
    ]


def test_two_of_what_is_one_are_refused(media: TestClient) -> None:
    problem = problem_of(media.post("/size", files=[("image", PNG), ("image", PNG)]), 400)
    assert problem["detail"] == "image: is there 2 times; one is taken"
    assert problem_of(media.post("/page", data={"title": ["a", "b"]}), 400)["errors"][0]["loc"] == ["title"]


def test_spread_arguments_are_a_list_and_an_object(media: TestClient) -> None:
    assert media.post("/spread", json={"first": 1, "more": [2, 3], "named": {"a": "b"}}).json() == [
        1,
        [2, 3],
        {"a": "b"},
    ]
    assert media.post("/spread", json={"first": 1}).json() == [1, [], {}]
    assert media.post("/spread", data={"first": "1", "more": ["2", "3"], "named": '{"a":"b"}'}).json() == [
        1,
        [2, 3],
        {"a": "b"},
    ]


@pytest.mark.parametrize("content", [b'{"name": "Ada"}', b' \n{"name": "Ada"}'])
def test_json_that_curl_calls_a_form_is_json(content: bytes) -> None:
    with local_client(Greeter) as client:
        answer = client.post("/greet", content=content, headers={"content-type": "application/x-www-form-urlencoded"})
        assert answer.text == "Hello, Ada"
        assert client.post("/greet", data={"name": "Ada"}).text == "Hello, Ada"
        assert (
            client.post("/greet", content=b"", headers=BOUNDARY | {"content-type": "application/x-unheard"}).text
            == "Hello, world"
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc',
        b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc\r\n',
        b'--b\r\nContent-Disposition: form-data; name="image',
        b"--b\r\n\r\nabc\r\n--b--\r\n",
        b"--other--\r\n",
    ],
)
def test_a_broken_form_is_the_callers_fault(media: TestClient, content: bytes) -> None:
    assert (
        "the form cannot be read" in problem_of(media.post("/size", content=content, headers=BOUNDARY), 400)["detail"]
    )


def test_a_form_leaves_nothing_behind(media: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def left() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(list(tmp_path.iterdir()))

    large = os.urandom(150_000)
    media.post("/sizes", files={"files": large})
    before = left()
    for _ in range(5):
        assert media.post("/sizes", files={"files": large}).status_code == 200
        assert media.post("/size", files={"image": large}).status_code == 400
        body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n' + large
        assert media.post("/sizes", content=body, headers=BOUNDARY).status_code == 400
    assert left() == before


def test_a_form_over_the_limit_is_refused(media: TestClient) -> None:
    problem_of(media.post("/sizes", files={"files": bytes(300_000)}), 413)


# --- files and images ---


@pytest.mark.parametrize(
    "options",
    [
        {"files": {"image": ("a.png", PNG, "image/png")}},
        {"files": {"image": ("a", PNG, "application/octet-stream")}},
        {"files": {"image": ("", PNG)}},
        {"files": {"image": (None, PNG)}},
        {"content": PNG, "headers": {"content-type": "image/png"}},
        {"content": PNG, "headers": {"content-type": "application/octet-stream"}},
        {"content": PNG, "headers": {"content-type": "application/x-whatever"}},
        {"json": {"image": "data:image/png;base64," + base64.b64encode(PNG).decode()}},
        {"data": {"image": "data:image/png;base64," + base64.b64encode(PNG).decode()}},
    ],
)
def test_an_image_comes_in_many_ways(media: TestClient, options: dict[str, Any]) -> None:
    assert media.post("/size", **options).text == "PNG 3x2"


@pytest.mark.parametrize(
    "options",
    [
        {"files": {"image": ("a.png", b"no image", "image/png")}},
        {"content": b"no image", "headers": {"content-type": "image/png"}},
        {"json": {"image": "no image"}},
        {"json": {"image": 7}},
        {"json": {}},
        {"data": {"prefix": "x"}},
    ],
)
def test_what_is_no_image_is_refused_at_its_field(media: TestClient, options: dict[str, Any]) -> None:
    assert problem_of(media.post("/size", **options), 400)["errors"][0]["loc"] == ["image"]


def test_a_file_of_another_type_is_refused(media: TestClient) -> None:
    assert media.post("/song", files={"audio": ("a.wav", b"RIFF", "audio/wav")}).json() == 4
    assert media.post("/song", content=b"RIFF", headers={"content-type": "audio/wav"}).json() == 4
    for options in (
        {"files": {"audio": ("a.txt", b"RIFF", "text/plain")}},
        {"content": b"RIFF", "headers": {"content-type": "video/mp4"}},
    ):
        assert "expected audio/*" in problem_of(media.post("/song", **options), 400)["detail"]


def test_json_that_a_page_calls_text_is_json_also_for_a_file(media: TestClient) -> None:
    body = json.dumps({"file": "data:text/plain;base64,aGk="}).encode()
    for media_type in ("text/plain", "text/plain;charset=UTF-8", "application/x-unheard"):
        assert media.post("/copy", content=body, headers={"content-type": media_type}).content == b"hi"
    for other in (b"{}", b'{"other": 1}', b"{", b"[]"):
        assert media.post("/copy", content=other, headers={"content-type": "text/plain"}).content == other


def test_bytes_are_text_in_json_and_anything_in_a_form_or_a_body(media: TestClient) -> None:
    assert media.post("/raw", json={"data": "ü"}).content == "ü".encode()
    assert media.post("/raw", data={"data": "x"}).content == b"x"
    assert media.post("/raw", files={"data": ("a", b"\x00\xff")}).content == b"\x00\xff"
    assert (
        media.post("/raw", content=b"\x00\xff", headers={"content-type": "application/octet-stream"}).content
        == b"\x00\xff"
    )


def test_an_optional_file_may_be_missing_or_null(media: TestClient) -> None:
    options: dict[str, Any]
    for options in ({"json": {}}, {"json": {"image": None}}, {"content": b""}):
        answer = media.post("/maybe", **options)
        assert (answer.headers["content-type"], answer.json()) == ("application/json", None)
    assert media.post("/maybe", files={"image": PNG}).headers["content-type"] == "image/png"


def test_a_batch_of_images_is_files_in_and_parts_out() -> None:
    with local_client(Batches) as client:
        files = [("images", ("a", image(width, 1))) for width in (1, 2, 3)]
        assert client.post("/sizes", files=files).json() == ["1x1", "2x1", "3x1"]
        assert client.post("/sizes", files=files[:1]).json() == ["1x1"]
        answer = client.post("/flip", files=files)
        assert answer.headers["content-type"].startswith("multipart/mixed")
        assert answer.content.count(PNG[:8]) == 3
        problem_of(client.post("/sizes", json={"images": ["http://127.0.0.1/"]}), 400)
        assert (
            "multipart/form-data"
            in client.get("/openapi.json").json()["paths"]["/sizes"]["post"]["requestBody"]["content"]
        )


def test_a_long_form_is_read_all_the_same(media: TestClient) -> None:
    assert media.post("/page", data={"title": "ü" * 30_000}).text == f"<h1>{'ü' * 30_000}</h1>"


# --- files by URL ---


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Answers a POST only, but `/schema.json` and `/docs/static/favicon.png` are files."""
    with live_server(Greeter) as url:
        yield url


def test_a_file_is_fetched_by_its_url(site: str) -> None:
    url = f"{site}/docs/static/favicon.png"
    with local_client(Media, options=FrontendOptions(allow_internal_urls=True)) as client:
        size = client.post("/size", json={"image": url}).text
        assert size.startswith("PNG ")
        assert client.post("/size", data={"image": url}).text == size
        assert client.post("/size", data={"image": f'"{url}"'}).text == size
        assert client.post("/size", files={"image": (None, url)}).text == size
        assert client.post("/root_image", content=url.encode()).text == size
        assert (
            client.post(
                "/root_image", content=f' "{url}"\n'.encode(), headers={"content-type": "application/json"}
            ).text
            == size
        )
        answer = client.post("/sizes", files=[("files", (None, url)), ("files", ("a", b"abc"))])
        assert answer.json()[0][1] == 3
        assert answer.json()[0][0] > 100
        assert client.post("/sizes", json={"files": [url, url]}).json()[0] == [answer.json()[0][0]] * 2
        assert client.post("/sizes", data={"files": json.dumps([url])}).json()[0] == [answer.json()[0][0]]
        problem = problem_of(client.post("/sizes", json={"files": [url, f"{site}/nowhere"]}), 400)
        assert problem["errors"][0]["loc"] == ["files", 1]
        assert problem_of(client.post("/root_image", content=f"{site}/nowhere".encode()), 400)["errors"][0]["loc"] == []


def test_by_default_nothing_is_fetched_from_inside(site: str, media: TestClient) -> None:
    url = f"{site}/docs/static/favicon.png"
    for answer in (
        media.post("/size", json={"image": url}),
        media.post("/size", data={"image": url}),
        media.post("/sizes", json={"files": [url]}),
        media.post("/root_image", content=url.encode()),
        media.post("/size", json={"image": "http://169.254.169.254/latest/meta-data"}),
    ):
        assert "not a public host" in problem_of(answer, 400)["detail"]


def test_text_and_bytes_that_read_as_a_url_are_what_they_are(media: TestClient, site: str) -> None:
    assert media.post("/raw", json={"data": site}).text == site
    assert media.post("/page", json={"title": site}).text == f"<h1>{site}</h1>"
    assert media.post("/root_bytes", content=site.encode()).text == site


# --- arrays and tables ---


def test_an_array_is_read_from_a_numpy_file(media: TestClient) -> None:
    headers = {"content-type": "application/x-npy"}
    for array in (np.array([[1, 2]]), np.array([[1, 2]], ">i2"), np.asfortranarray([[1.0, 2], [3, 4]])):
        assert media.post("/double", content=npy(array), headers=headers).json() == (array * 2.0).tolist()
        assert media.post("/double", files={"rows": ("rows.npy", npy(array))}).json() == (array * 2.0).tolist()
    assert media.post("/words", content=npy(np.array(["a", "bc"])), headers=headers).json() == ["a", "bc"]
    assert media.post("/double", data={"rows": "[[1, 2]]"}).json() == [[2, 4]]
    assert media.post("/double", data={"rows": ["[1, 2]", "[3, 4]"]}).json() == [[2, 4], [6, 8]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        npy(np.array([1, 2])),
        npy(np.array([["a", "b"]])),
        npy(np.array([{}], dtype=object)),
        npy(np.array([[1, 2]]))[:-1],
    ],
)
def test_a_numpy_file_that_does_not_fit_is_refused(media: TestClient, content: bytes) -> None:
    answer = media.post("/double", content=content, headers={"content-type": "application/x-npy"})
    assert problem_of(answer, 400)["errors"][0]["loc"] == ["rows"]


def in_forms(frame: pd.DataFrame) -> list[tuple[str, str, bytes]]:
    """Media type, name and content of one table in every form that is no JSON."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return [
        ("text/csv", "a.csv", frame.to_csv(index=False).encode()),
        ("application/vnd.apache.arrow.stream", "a.arrows", sink.getvalue().to_pybytes()),
        ("application/vnd.apache.parquet", "a.parquet", frame.to_parquet()),
    ]


@pytest.mark.parametrize(("media_type", "name", "content"), in_forms(FRAME))
def test_a_table_is_read_from_files(media: TestClient, media_type: str, name: str, content: bytes) -> None:
    rows = FRAME.to_dict(orient="records")
    assert media.post("/frame", content=content, headers={"content-type": media_type}).json() == rows
    assert media.post("/frame", files={"frame": (name, content)}).json() == rows
    assert media.post("/frame", files={"frame": ("a", content, media_type)}).json() == rows
    assert media.post("/root_frame", content=content, headers={"content-type": media_type}).json() == rows


def test_a_table_is_read_from_json(media: TestClient) -> None:
    rows = FRAME.to_dict(orient="records")
    for table in (rows, FRAME.to_dict(orient="list")):
        assert media.post("/frame", json={"frame": table}).json() == rows
        assert media.post("/frame", data={"frame": json.dumps(table)}).json() == rows
        assert media.post("/frame", files={"frame": ("a.json", json.dumps(table))}).json() == rows
        assert media.post("/root_frame", json=table).json() == rows


def test_a_charset_is_kept(media: TestClient) -> None:
    headers = {"content-type": "text/csv; charset=latin-1"}
    assert media.post("/frame", content="a\nü\n".encode("latin-1"), headers=headers).json() == [{"a": "ü"}]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\xff"])
@pytest.mark.parametrize("media_type", ["application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"])
def test_a_broken_table_is_the_callers_fault(media: TestClient, media_type: str, content: bytes) -> None:
    assert problem_of(media.post("/frame", content=content, headers={"content-type": media_type}), 400)["errors"][0][
        "loc"
    ] == ["frame"]


# --- what is not read ---


@pytest.mark.parametrize(
    ("route", "media_type"),
    [
        ("/page", "image/png"), ("/page", "application/octet-stream"), ("/page", "application/x-npy"), ("/page", "text/csv"),
        ("/page", "multipart/mixed; boundary=b"), ("/size", "multipart/mixed; boundary=b"), ("/double", "text/csv"),
        ("/frame", "application/x-npy"), ("/mixed", "image/png"), ("/root_model", "image/png"), ("/root_list", "text/csv"),
        ("/size", "application/vnd.bentoml+pickle"), ("/raw", "application/vnd.bentoml+pickle"),
        ("/root_bytes", "Application/VND.BentoML+pickle; x=y"), ("/root_file", "application/vnd.bentoml+pickle"),
    ],
)  # fmt: skip
def test_a_type_that_the_route_has_no_use_for_is_named_with_those_it_reads(
    media: TestClient, route: str, media_type: str
) -> None:
    answer = media.post(route, content=b"\x80\x05N.", headers={"content-type": media_type})
    detail = problem_of(answer, 415)["detail"]
    assert "does not read" in detail
    assert "it reads " in detail


@pytest.mark.parametrize(
    ("route", "types"),
    [
        ("/page", "application/json, multipart/form-data, application/x-www-form-urlencoded"),
        ("/size", "application/json, multipart/form-data, application/x-www-form-urlencoded, image/*"),
        ("/song", "application/json, multipart/form-data, application/x-www-form-urlencoded, audio/*"),
        ("/double", "application/json, multipart/form-data, application/x-www-form-urlencoded, application/x-npy"),
        ("/mixed", "application/json, multipart/form-data, application/x-www-form-urlencoded"),
        ("/root_text", "text/plain"),
        ("/root_file", "application/octet-stream, multipart/form-data"),
        ("/root_array", "application/json, application/x-npy"),
        ("/root_model", "application/json"),
    ],
)
def test_the_types_that_a_route_reads(media: TestClient, route: str, types: str) -> None:
    answer = media.post(route, content=b"x", headers={"content-type": "application/vnd.bentoml+pickle"})
    assert problem_of(answer, 415)["detail"].endswith(f"(it reads {types})")
