"""What an answer is: its body by the result's kind and by `Accept`, its status, headers and cookies."""

import email.parser
import email.policy
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from orchestrator.testing import local_client
from tests.integration.live import live_server
from tests.integration.test_bodies import PNG, image
from tests.integration.test_calls import problem_of
from tests.services.media import Media

ROWS = [{"a": 1, "b": "x, y"}, {"a": 2, "b": None}]


@pytest.fixture(scope="module")
def media() -> Iterator[TestClient]:
    with local_client(Media) as client:
        yield client


def test_an_image_is_its_bytes(media: TestClient) -> None:
    answer = media.post("/maybe", files={"image": image(4, 5, "JPEG")})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (4, 5)


@pytest.mark.parametrize(
    ("name", "disposition", "media_type"),
    [
        ("a.csv", 'attachment; filename="a.csv"', "text/csv"),
        ("a.html", 'attachment; filename="a.html"', "text/html"),
        ("a.svg", 'attachment; filename="a.svg"', "image/svg+xml"),
        ("a.png", 'inline; filename="a.png"', "image/png"),
        ("a", 'attachment; filename="a"', "application/octet-stream"),
        ('a "b"; c=d.csv', 'attachment; filename="a _b_; c=d.csv"', "text/csv"),
        ("é€.csv", "attachment; filename=\"__.csv\"; filename*=UTF-8''%C3%A9%E2%82%AC.csv", "text/csv"),
        ("a\r\nx: y.csv", 'attachment; filename="a__x: y.csv"', "text/csv"),
    ],
)
def test_a_file_has_a_name_that_no_browser_misreads(
    media: TestClient, name: str, disposition: str, media_type: str
) -> None:
    answer = media.post("/report", json={"name": name})
    assert answer.content == b"a,b\n1,2\n"
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == disposition


def test_bytes_have_no_name(media: TestClient) -> None:
    answer = media.post("/raw", json={"data": "x"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-disposition" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_text_may_be_of_another_type(media: TestClient) -> None:
    answer = media.post("/page", json={"title": "ü"})
    assert (answer.headers["content-type"], answer.text) == ("text/html; charset=utf-8", "<h1>ü</h1>")


def test_several_files_are_parts(media: TestClient) -> None:
    answer = media.post("/pair", files={"file": ("ü.txt", b"\r\n--x\r\n", "text/plain")})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    assert message.get_content_type() == "multipart/mixed"
    parts = list(message.iter_parts())
    assert [part.get_payload(decode=True) for part in parts] == [b"\r\n--x\r\n"] * 2
    assert {part.get_content_type() for part in parts} == {"text/plain"}
    assert answer.content.count(b"%C3%BC.txt") == 2


def test_an_array_is_lists_or_a_numpy_file(media: TestClient) -> None:
    plain = media.post("/double", json={"rows": [[1, 2]]})
    assert (plain.headers["content-type"], plain.json()) == ("application/json", [[2, 4]])
    answer = media.post("/double", json={"rows": [[1, 2]]}, headers={"accept": "application/x-npy"})
    assert answer.headers["content-type"] == "application/x-npy"
    assert plain.headers["vary"] == answer.headers["vary"] == "Accept"
    array = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert (array.dtype, array.tolist()) == (np.float32, [[2, 4]])
    words = media.post("/words", json={"texts": ["a", "ü"]}, headers={"accept": "application/x-npy"})
    assert np.load(io.BytesIO(words.content)).tolist() == ["a", "ü"]


def test_a_table_is_records_or_columns_or_csv(media: TestClient) -> None:
    assert media.post("/frame", json={"frame": ROWS}).json() == ROWS
    assert media.post("/columns", json={"frame": ROWS}).json() == {"a": [1, 2], "b": ["x, y", None]}
    for route in ("/frame", "/columns"):
        answer = media.post(route, json={"frame": ROWS}, headers={"accept": "text/csv"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.text == 'a,b\n1,"x, y"\n2,\n'
    nested = [{"a": True, "b": [1, "x"], "c": {"d": None}}]
    answer = media.post("/frame", json={"frame": nested}, headers={"accept": "text/csv"})
    assert answer.text == 'a,b,c\ntrue,"[1,""x""]","{""d"":null}"\n'
    assert media.post("/frame", json={"frame": {"a": [], "b": []}}, headers={"accept": "text/csv"}).text in (
        "a,b\n",
        "\n",
    )


@pytest.mark.parametrize("route", ["/frame", "/columns", "/root_frame"])
def test_a_table_is_arrow_or_parquet(media: TestClient, route: str) -> None:
    import pyarrow as pa

    body: Any = ROWS if route == "/root_frame" else {"frame": ROWS}
    arrow = media.post(route, json=body, headers={"accept": "application/vnd.apache.arrow.stream"})
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == ROWS
    parquet = media.post(route, json=body, headers={"accept": "application/vnd.apache.parquet"})
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    assert pd.read_parquet(io.BytesIO(parquet.content)).to_dict(orient="list")["a"] == [1, 2]
    headers = {"content-type": "application/vnd.apache.parquet", "accept": "application/vnd.apache.parquet"}
    assert media.post("/root_frame", content=parquet.content, headers=headers).status_code == 200


def test_a_table_without_a_form_in_arrow_is_the_services_fault(media: TestClient) -> None:
    rows = [{"a": 1}, {"a": "x"}]
    answer = media.post("/frame", json={"frame": rows}, headers={"accept": "application/vnd.apache.arrow.stream"})
    assert "has no form" in problem_of(answer, 500)["detail"]
    assert media.post("/frame", json={"frame": rows}).json() == rows


@pytest.mark.parametrize("accept", ["image/png", "*/*", "text/html, */*;q=0.1", "nonsense", "application/json;q=0"])
def test_an_accept_header_never_keeps_an_answer_back(media: TestClient, accept: str) -> None:
    answer = media.post("/frame", json={"frame": [{"a": 1}]}, headers={"accept": accept})
    assert answer.status_code == 200
    problem_of(media.post("/frame", json={}, headers={"accept": accept}), 400)


# --- what a method asks of its response ---


def test_status_headers_and_cookies(media: TestClient) -> None:
    answer = media.post("/answer", json={"status": 201, "header": "X-Two", "value": "v"})
    assert (answer.status_code, answer.text) == (201, "done")
    raw = [(name.lower(), value) for name, value in answer.headers.raw]
    assert [value for name, value in raw if name == b"x-two"] == [b"v", b"v!"]
    cookies = [value.decode() for name, value in raw if name == b"set-cookie"]
    assert cookies[0] == "first=1; Path=/; SameSite=lax"
    assert cookies[1] == 'second="a b"; HttpOnly; Max-Age=60; Path=/x; SameSite=strict; Secure'


@pytest.mark.parametrize(("text", "sent"), [("ü", b"\xfc"), ("€", b"\xe2\x82\xac")])
def test_a_header_may_be_more_than_ascii(text: str, sent: bytes) -> None:
    with live_server(Media) as url:
        answer = httpx2.post(f"{url}/answer", json={"status": 200, "header": "x", "value": text}, trust_env=False)
    assert (b"x", sent) in [(name.lower(), value) for name, value in answer.headers.raw]


def test_a_content_type_of_the_methods_own_replaces_ours(media: TestClient) -> None:
    answer = media.post("/answer", json={"status": 200, "header": "Content-Type", "value": "text/x"})
    assert answer.headers.get_list("content-type") == ["text/x!"]


def test_the_servers_own_headers_stay_its_own(media: TestClient) -> None:
    for name in ("Content-Length", "X-Request-ID", "Transfer-Encoding"):
        answer = media.post("/answer", json={"status": 200, "header": name, "value": "7"})
        assert (answer.status_code, answer.text) == (200, "done")
        assert "7" not in answer.headers.get_list(name)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_some_statuses_have_no_body(media: TestClient, status: int) -> None:
    answer = media.post("/answer", json={"status": status})
    assert (answer.status_code, answer.content) == (status, b"")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize("status", [0, 99, 100, 600])
def test_a_status_that_http_does_not_have_is_the_services_fault(media: TestClient, status: int) -> None:
    assert "status" in problem_of(media.post("/answer", json={"status": status}), 500)["detail"]


def test_a_method_sees_its_request(media: TestClient) -> None:
    headers = [("X-Two", "a"), ("x-two", "b"), ("X-Request-ID", "mine")]
    assert media.post("/asked?q=1&r=%20", headers=headers).json() == {
        "method": "POST",
        "path": "/asked",
        "query": {"q": "1", "r": " "},
        "header": ["a", "b"],
        "client": "testclient",
        "id": "mine",
    }


def test_an_error_of_the_services_own_has_its_status_and_its_name(media: TestClient) -> None:
    problem = problem_of(media.post("/teapot"), 418)
    assert problem["type"] == "urn:orchestrator:error:request_failed"
    assert (problem["title"], problem["detail"], problem["name"]) == ("I'm a Teapot", "short and stout", "Teapot")


def test_a_problem_never_holds_the_file(media: TestClient) -> None:
    assert PNG[:8] not in media.post("/size", files={"image": PNG[:20]}).content
