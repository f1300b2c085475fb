"""Streams: what they are sent as, how they fail, and that they end with their callers."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from orchestrator.testing import local_client
from tests.integration.live import live_server
from tests.integration.test_calls import problem_of
from tests.services.media import Streams

EVENTS = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def streams() -> Iterator[TestClient]:
    with local_client(Streams) as client:
        yield client


@pytest.fixture(scope="module")
def live() -> Iterator[httpx2.Client]:
    with live_server(Streams) as url, httpx2.Client(base_url=url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("route", "media_type", "body"),
    [
        ("/text", "text/plain; charset=utf-8", b"line 0\nline 1\nline 2\n"),
        ("/content", "application/octet-stream", b"\x00\xff\x01"),
        ("/numbers", "application/x-ndjson", b"0\n1\n2\n"),
        ("/arrays", "application/x-ndjson", b"[[1.0,1.0]]\n[[0.0],[0.0]]\n"),
        ("/events", "text/event-stream", b"data: one\n\ndata: two\n\n"),
    ],
)
@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/*"])
def test_chunks_as_they_are(streams: TestClient, route: str, media_type: str, body: bytes, accept: str) -> None:
    answer = streams.post(route, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, media_type, body)
    assert "content-length" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/text", "data: line 0\ndata: \n\ndata: line 1\ndata: \n\ndata: line 2\ndata: \n\n"),
        ("/numbers", "data: 0\n\ndata: 1\n\ndata: 2\n\n"),
        ("/arrays", "data: [[1.0,1.0]]\n\ndata: [[0.0],[0.0]]\n\n"),
        ("/events", "data: one\n\ndata: two\n\n"),  # the method makes its events itself
    ],
)
def test_chunks_as_events(streams: TestClient, route: str, body: str) -> None:
    answer = streams.post(route, headers=EVENTS)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text == body


def test_a_stream_without_chunks_is_an_empty_body(streams: TestClient) -> None:
    for headers in ({}, EVENTS):
        answer = streams.post("/text", json={"count": 0}, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")


def test_what_the_method_asks_of_its_response_holds_for_a_stream(streams: TestClient) -> None:
    answer = streams.post("/signed")
    assert (answer.status_code, answer.headers["x-signed"], answer.text) == (202, "yes", "a")


def test_a_status_without_a_body_ends_the_stream(streams: TestClient) -> None:
    answer = streams.post("/signed", json={"status": 204})
    assert (answer.status_code, answer.content, answer.headers["x-signed"]) == (204, b"", "yes")
    problem_of(streams.post("/signed", json={"status": 1}), 500)


@pytest.mark.parametrize("headers", [{}, EVENTS])
def test_an_error_before_the_first_chunk_has_its_status(streams: TestClient, headers: dict[str, str]) -> None:
    problem_of(streams.post("/text", json={"count": 0, "fail": True}, headers=headers), 500)
    problem_of(streams.post("/numbers", json={"count": 0, "fail": True}, headers=headers), 418)
    problem_of(streams.post("/numbers", json={"count": "x"}, headers=headers), 400)


def test_an_error_later_is_an_event(streams: TestClient) -> None:
    for route, status, chunks in (("/text", 500, 3), ("/numbers", 418, 3)):
        answer = streams.post(route, json={"fail": True}, headers=EVENTS)
        events = answer.text.removesuffix("\n\n").split("\n\n")
        assert len(events) == chunks + 1
        name, data = events[-1].split("\n")
        assert name == "event: error"
        problem = json.loads(data.removeprefix("data: "))
        assert problem["status"] == status
        assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("route", "body"), [("/text", b"line 0\nline 1\nline 2\n"), ("/numbers", b"0\n1\n2\n")])
def test_an_error_later_breaks_the_connection_where_there_are_no_events(
    live: httpx2.Client, caplog: pytest.LogCaptureFixture, route: str, body: bytes
) -> None:
    with live.stream("POST", route, json={"fail": True}, headers={"x-request-id": "broken-1"}) as answer:
        assert answer.status_code == 200
        got: list[bytes] = []
        with pytest.raises(httpx2.RemoteProtocolError):
            got.extend(answer.iter_raw())
    assert b"".join(got) == body
    assert any("broken-1" in line and "after its first chunk" in line for line in caplog.messages)
    assert live.post(route).content == body


def test_chunks_come_as_soon_as_they_are_there(live: httpx2.Client) -> None:
    started = time.perf_counter()
    with live.stream("POST", "/forever") as answer:
        chunks = answer.iter_raw()
        assert next(chunks).startswith(b"tick\n")
        assert time.perf_counter() - started < 2
        next(chunks)


def closed(live: httpx2.Client, name: str, most_s: float = 5.0) -> bool:
    deadline = time.perf_counter() + most_s
    while time.perf_counter() < deadline:
        if name in live.post("/history").json():
            return True
        time.sleep(0.02)
    return False


def test_a_caller_who_leaves_ends_the_method() -> None:
    with live_server(Streams) as url, httpx2.Client(base_url=url, trust_env=False) as live:
        with live.stream("POST", "/forever") as answer:
            chunks = answer.iter_raw()
            next(chunks)
            assert live.post("/history").json() == []
        assert closed(live, "forever")
        assert 'orchestrator_requests_in_progress{api="forever",service="Streams"} 0.0' in live.get("/metrics").text


def test_a_caller_who_leaves_before_the_first_chunk_ends_the_method() -> None:
    with live_server(Streams) as url, httpx2.Client(base_url=url, trust_env=False) as live:
        with pytest.raises(httpx2.ReadTimeout):
            live.post("/late", timeout=0.3)
        assert closed(live, "late")
        metrics = live.get("/metrics").text
        assert 'orchestrator_requests_in_progress{api="late",service="Streams"} 0.0' in metrics
        assert 'orchestrator_requests_total{api="late",service="Streams",status="499"} 1.0' in metrics


def test_a_caller_who_reads_nothing_holds_the_method_back_and_not_the_server() -> None:
    with live_server(Streams) as url, httpx2.Client(base_url=url, trust_env=False) as live:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as idle:
            body = json.dumps({"count": 10**9}).encode()
            idle.sendall(b"POST /text HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.5)
            assert live.post("/numbers").content == b"0\n1\n2\n"
        # Without the caller the method ends, and its thread serves again.
        answer: Any = live.post("/text", timeout=10)
        assert answer.status_code == 200
