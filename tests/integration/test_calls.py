"""The front-end over the local backend: what callers send and what they get."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

import orchestrator
from orchestrator.server import FrontendOptions
from orchestrator.testing import local_client
from tests.services.greeter import Greeter
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed
from tests.services.rows import Rows


@pytest.fixture(scope="module")
def kinds() -> Iterator[TestClient]:
    with local_client(Kinds, options=FrontendOptions(max_body_bytes=100_000)) as client:
        yield client


@pytest.fixture(scope="module")
def mixed() -> Iterator[TestClient]:
    with local_client(Mixed) as client:
        yield client


@pytest.fixture(scope="module")
def rows() -> Iterator[TestClient]:
    with local_client(Rows) as client:
        yield client


def problem_of(answer: Any, status: int) -> dict[str, Any]:
    """The problem in an answer, after what holds for every one of them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert isinstance(body, dict)
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"] == body["error"]
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("route", "value"),
    [
        ("/integer", 2**63 - 1),
        ("/number", 0.1),
        ("/number", 3.0),
        ("/boolean", True),
        ("/mapping", {"a": 1, "ü": -2}),
        ("/model", {"x": 1, "label": "there"}),
        ("/optional", None),
        ("/optional", 5),
        ("/anything", [1, {"a": [None, True, "x", 0.5]}]),
        ("/open_array", [[1, 2], [3, 4]]),
        ("/open_array", [[[1.5]], [[2.5]]]),
        ("/open_array", ["a", "bcd"]),
        ("/open_array", [True, False]),
        ("/open_array", 7),
        ("/open_array", []),
        ("/array", [[1.5, 2.5, 3.5]]),
        ("/array", []),
        ("/words", ["", "Größe", "a" * 100]),
    ],
)
def test_a_value_of_every_kind_comes_back_as_json(kinds: TestClient, route: str, value: Any) -> None:
    answer = kinds.post(route, json={"value": value})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == value


@pytest.mark.parametrize("text", ["", "Größe 🙂", "line\nline", '"quoted"'])
def test_text_comes_back_as_plain_text(kinds: TestClient, text: str) -> None:
    answer = kinds.post("/text", json={"value": text})
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_no_result_is_null(kinds: TestClient) -> None:
    answer = kinds.post("/nothing")
    assert (answer.status_code, answer.text) == (200, "null")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"unknown": 1}'])
def test_arguments_that_are_left_out_have_their_defaults(kinds: TestClient, body: bytes) -> None:
    assert kinds.post("/limits/both", content=body).text == "3x"
    with local_client(Greeter) as client:
        assert client.post("/greet", content=body).text == "Hello, world"


def test_rows_come_back_in_their_order_however_many_there_are(rows: TestClient) -> None:
    table = [[n, 0, 0, 1] for n in range(20)]
    assert rows.post("/total", json={"rows": table}).json() == [n + 1 for n in range(20)]


def test_a_batching_api_and_others_live_in_one_service(mixed: TestClient) -> None:
    assert mixed.post("/upper", json={"words": ["a", "b"] * 5}).json() == ["A", "B"] * 5
    assert mixed.post("/count", json={"text": "a b c"}).json() == 3
    assert mixed.post("/version").text == "1.0"


BAD = [
    ("/integer", b"{", (), "json_invalid"),
    ("/integer", b"\xff", (), "json_invalid"),
    ("/integer", b'{"value": 1} x', (), "json_invalid"),
    ("/integer", b"[1]", (), "dict_type"),
    ("/integer", b"null", (), "dict_type"),
    ("/integer", b"{}", ("value",), "missing"),
    ("/integer", b'{"value": "x"}', ("value",), "int_parsing"),
    ("/integer", b'{"value": 1.5}', ("value",), "int_from_float"),
    ("/integer", b'{"value": NaN}', ("value",), "finite_number"),
    ("/integer", b'{"value": 1e400}', ("value",), "finite_number"),
    ("/integer", b'{"value": 9223372036854775808}', ("value",), "value_error"),
    ("/integer", b'{"value": 1' + b"0" * 400 + b"}", ("value",), "value_error"),
    ("/integer", b'{"value": 1' + b"0" * 5000 + b"}", (), "json_invalid"),
    ("/number", b'{"value": 1' + b"0" * 400 + b"}", ("value",), "float_type"),
    ("/boolean", b'{"value": 2}', ("value",), "bool_parsing"),
    ("/text", b'{"value": 1}', ("value",), "string_type"),
    ("/text", b'{"value": "\\ud800"}', (), "json_invalid"),
    ("/anything", b'{"value": {"\\udfff": 1}}', (), "json_invalid"),
    ("/anything", b"[" * 10_000, (), "json_invalid"),
    ("/anything", b'{"value": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, (), "json_invalid"),
    ("/mapping", b'{"value": {"a": "x"}}', ("value", "a"), "int_parsing"),
    ("/model", b'{"value": {"x": 1, "label": "much too long"}}', ("value", "label"), "string_too_long"),
    ("/model", b'{"value": {}}', ("value", "x"), "missing"),
    ("/limits/both", b'{"small": 11}', ("small",), "less_than_equal"),
    ("/limits/both", b'{"name": ""}', ("name",), "string_too_short"),
    ("/array", b'{"value": [[1, 2]]}', ("value",), "value_error"),
    ("/array", b'{"value": [[1, 2], [3]]}', ("value",), "value_error"),
    ("/array", b'{"value": [["a", "b", "c"]]}', ("value",), "value_error"),
    ("/array", b'{"value": [[1e39, 0, 0]]}', ("value",), "value_error"),
    ("/array", b'{"value": [[1' + b"0" * 400 + b", 0, 0]]}", ("value",), "value_error"),
    ("/array", b'{"value": null}', ("value",), "value_error"),
    ("/array", b'{"value": ' + b"[" * 150 + b"]" * 150 + b"}", ("value",), "value_error"),
    ("/open_array", b'{"value": {"a": 1}}', ("value",), "value_error"),
    ("/words", b'{"value": [1]}', ("value",), "value_error"),
]


@pytest.mark.parametrize(("route", "body", "loc", "kind"), BAD, ids=lambda value: str(value)[:40])
def test_a_body_that_does_not_fit_is_refused_and_the_field_named(
    kinds: TestClient, route: str, body: bytes, loc: tuple[str, ...], kind: str
) -> None:
    problem = problem_of(kinds.post(route, content=body), 400)
    assert [(tuple(error["loc"]), error["type"]) for error in problem["errors"]] == [(loc, kind)]
    assert ".".join(loc) in problem["detail"]


def test_every_wrong_field_is_named(kinds: TestClient) -> None:
    problem = problem_of(kinds.post("/limits/both", json={"small": 0, "name": ""}), 400)
    assert [error["loc"] for error in problem["errors"]] == [["small"], ["name"]]
    assert "(and 1 more)" in problem["detail"]


@pytest.mark.parametrize("body", [{"words": []}, {"words": ["a", 1]}, {"words": "ab"}])
def test_rows_that_do_not_fit_are_refused_and_the_field_named(mixed: TestClient, body: Any) -> None:
    problem = problem_of(mixed.post("/upper", json=body), 400)
    assert problem["errors"][0]["loc"][0] == "words"


def test_arguments_of_different_numbers_of_rows_are_refused_by_name() -> None:
    @orchestrator.service
    class Pairs:
        @orchestrator.api(batchable=True)
        def add(self, left: list[int], right: list[int]) -> list[int]:
            return [a + b for a, b in zip(left, right, strict=True)]

        @orchestrator.api
        def other(self) -> None: ...

    with local_client(Pairs) as client:
        assert client.post("/add", json={"left": [1, 2], "right": [3, 4]}).json() == [4, 6]
        problem = problem_of(client.post("/add", json={"left": [1, 2], "right": [3]}), 400)
        assert [error["loc"] for error in problem["errors"]] == [["right"]]


def test_a_number_that_json_has_not_reaches_a_method_that_takes_floats() -> None:
    @orchestrator.service
    class Gaps:
        @orchestrator.api
        def count(self, values: NDArray[np.float64]) -> int:
            return int(np.isnan(values).sum())

    with local_client(Gaps) as client:
        assert client.post("/count", content=b'{"values": [1, NaN, NaN]}').json() == 2


def test_a_body_over_the_limit_is_refused(kinds: TestClient) -> None:
    value = "x" * (100_000 - len('{"value": ""}'))
    assert kinds.post("/text", content=json.dumps({"value": value})).status_code == 200
    assert "100000 bytes" in problem_of(kinds.post("/text", content=json.dumps({"value": value + "x"})), 413)["detail"]
    problem_of(kinds.post("/text", content=b"x" * 1_000_000), 413)


@pytest.mark.parametrize("path", ["/nope", "/Text"])
def test_an_unknown_route_is_not_found(kinds: TestClient, path: str) -> None:
    assert path in problem_of(kinds.post(path, json={}), 404)["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_an_api_is_called_with_post_only(kinds: TestClient, method: str) -> None:
    answer = kinds.request(method, "/text")
    problem_of(answer, 405)
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "media", ["multipart/mixed", "Multipart/Related; boundary=x", "image/png", "application/x-npy"]
)
def test_a_body_of_a_type_that_the_api_has_no_use_for_is_refused(kinds: TestClient, media: str) -> None:
    detail = problem_of(kinds.post("/text", content=b"x", headers={"content-type": media}), 415)["detail"]
    assert f"this route does not read {media.lower().partition(';')[0]} (it reads application/json" in detail


def test_a_form_is_read_by_the_types_of_its_fields(kinds: TestClient) -> None:
    assert kinds.post("/integer", data={"value": "3"}).json() == 3
    assert kinds.post("/text", files={"value": (None, "x")}).text == "x"
    problem = problem_of(kinds.post("/integer", data={"value": "x"}), 400)
    assert [error["loc"] for error in problem["errors"]] == [["value"]]


@pytest.mark.parametrize("media", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_the_callers_fault(kinds: TestClient, media: str) -> None:
    problem_of(kinds.post("/text", content=b"no parts at all", headers={"content-type": media}), 400)


@pytest.mark.parametrize("media", ["application/json", "application/json; charset=utf-8", "text/plain", ""])
def test_a_body_is_read_as_json_whatever_else_it_is_called(kinds: TestClient, media: str) -> None:
    answer = kinds.post("/integer", content=b'{"value": 3}', headers={"content-type": media})
    assert answer.json() == 3
