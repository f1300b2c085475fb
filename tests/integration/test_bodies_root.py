"""An API whose one argument is the whole body."""

import asyncio
import io
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from orchestrator.sdk import read_service
from orchestrator.server.arguments import ArgumentReader
from orchestrator.server.fetch import Fetcher
from orchestrator.spec import Blob
from orchestrator.testing import local_client
from tests.integration.test_bodies import BOUNDARY, PNG, npy
from tests.integration.test_calls import problem_of
from tests.services.media import Media


@pytest.fixture(scope="module")
def media() -> Iterator[TestClient]:
    with local_client(Media) as client:
        yield client


TYPES = ["", "text/plain", "application/json", "application/octet-stream", "application/x-www-form-urlencoded", "a/b"]


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("content", [b'"quoted"', b"a=b", "ü\n".encode(), b"", b"{}", b"null"])
def test_text_and_bytes_are_the_body_as_it_is(media: TestClient, media_type: str, content: bytes) -> None:
    for route in ("/root_text", "/root_bytes", "/root_file"):
        answer = media.post(route, content=content, headers={"content-type": media_type})
        assert (answer.status_code, answer.content) == (200, content)


def test_a_body_that_is_not_utf_8_is_no_text(media: TestClient) -> None:
    problem = problem_of(media.post("/root_text", content=b"\xff"), 400)
    assert problem["errors"][0]["loc"] == []
    assert media.post("/root_bytes", content=b"\xff").content == b"\xff"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("audio/wav", "audio/wav"), ("text/plain; charset=x", "text/plain"), ("a/b", "a/b"),
        ("", None), ("application/json", None), ("application/x-www-form-urlencoded", None),
    ],
)  # fmt: skip
def test_a_file_keeps_its_type_but_not_what_tools_say_when_they_do_not_know(said: str, kept: str | None) -> None:
    reader = ArgumentReader(read_service(Media, "m:Media").spec.api("root_file"), Fetcher(most_bytes=0))
    assert asyncio.run(reader.read(b"{}", said)) == {"file": Blob(b"{}", kept)}


def test_a_form_with_one_file_is_that_file(media: TestClient) -> None:
    answer = media.post("/root_file", files={"any": ("a.txt", b"abc", "text/plain")})
    assert answer.content == b"abc"
    assert "a.txt" in answer.headers["content-disposition"]
    assert media.post("/root_image", files={"x": ("a.png", PNG)}).text == "PNG 3x2"
    assert media.post("/root_bytes", files={"x": b"abc"}).content == b"abc"
    assert "has 2 parts" in problem_of(media.post("/root_file", files={"a": b"1", "b": b"2"}), 400)["detail"]
    problem_of(media.post("/root_file", content=b"--b\r\nnonsense", headers=BOUNDARY), 400)


def test_an_image_is_the_body(media: TestClient) -> None:
    for media_type in ("image/png", "", "application/json", "application/octet-stream"):
        assert media.post("/root_image", content=PNG, headers={"content-type": media_type}).text == "PNG 3x2"
    assert problem_of(media.post("/root_image", content=b"http:/not a URL"), 400)["errors"][0]["loc"] == []
    problem_of(media.post("/root_image", content=b""), 400)


def test_other_values_are_the_json_document(media: TestClient) -> None:
    assert media.post("/root_model", json={"x": 4}).json() == {"x": 4, "label": "here"}
    assert media.post("/root_list", json=[1, 2]).json() == 3
    assert media.post("/root_array", json=[1, 2]).json() == [1, 2]
    assert media.post("/root_frame", json=[{"a": 1}]).json() == [{"a": 1}]
    assert (
        media.post("/root_list", content=b"[1]", headers={"content-type": "application/x-www-form-urlencoded"}).json()
        == 1
    )


def test_no_body_is_an_empty_object_or_the_default(media: TestClient) -> None:
    assert media.post("/root_model").json() == {"x": 0, "label": "here"}
    assert media.post("/root_default").json() == {"x": 7, "label": "here"}
    assert media.post("/root_default", json={"x": 1}).json() == {"x": 1, "label": "here"}
    problem_of(media.post("/root_list"), 400)


def test_a_model_may_be_a_form(media: TestClient) -> None:
    assert media.post("/root_model", data={"x": "4", "label": "7"}).json() == {"x": 4, "label": "7"}
    assert media.post("/root_model", files={"x": (None, "4"), "label": (None, '"7"')}).json() == {"x": 4, "label": "7"}


def test_an_array_may_be_a_numpy_file(media: TestClient) -> None:
    headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    answer = media.post("/root_array", content=npy(np.array([[1, 2]])), headers=headers)
    assert np.load(io.BytesIO(answer.content)).tolist() == [[1, 2]]
    assert problem_of(media.post("/root_array", content=b"x", headers=headers), 400)["errors"][0]["loc"] == []


@pytest.mark.parametrize(
    ("content", "loc"),
    [(b'{"x": "z"}', ["x"]), (b"[]", []), (b"7", []), (b"{", []), (b'{"x": 1, "label": 2}', ["label"])],
)
def test_a_problem_is_placed_from_the_body_on(media: TestClient, content: bytes, loc: list[str]) -> None:
    assert problem_of(media.post("/root_model", content=content), 400)["errors"][0]["loc"] == loc
