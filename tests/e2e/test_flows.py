"""Async methods, streams, hooks and context: in a worker of the real Triton, and on the front-end. The same code and answers."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["Flows", "FlowsInFrontend"])
def flows(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(f"flows:{request.param}") as server:
        yield server


def test_many_calls_of_an_async_method_are_in_flight_at_once(flows: Serving) -> None:
    with ThreadPoolExecutor(20) as pool, httpx2.Client() as http:
        started = time.monotonic()
        answers = list(pool.map(lambda _: http.post(f"{flows.url}/wait", json={"seconds": 0.5}).json(), range(20)))
        took = time.monotonic() - started
    assert max(answers) > 10
    assert took < 20 * 0.5 / 2


def test_a_blocking_method_does_not_hold_up_an_async_one(flows: Serving) -> None:
    with ThreadPoolExecutor(2) as pool, httpx2.Client() as http:
        blocked = pool.submit(http.post, f"{flows.url}/block", json={"seconds": 1.5})
        time.sleep(0.2)
        assert http.post(f"{flows.url}/wait", json={"seconds": 0}).status_code == 200
        assert not blocked.done()
        assert blocked.result().text == "done"


def test_a_stream_comes_chunk_by_chunk(flows: Serving) -> None:
    with httpx2.stream("POST", f"{flows.url}/words", json={"count": 3}) as answer:
        assert answer.status_code == 200
        assert "".join(answer.iter_text()) == "word 0 word 1 word 2 "
    assert httpx2.post(f"{flows.url}/objects", json={}).text.splitlines() == [f'{{"number":{n}}}' for n in range(3)]


def test_server_sent_events_where_the_client_asks(flows: Serving) -> None:
    answer = httpx2.post(f"{flows.url}/objects", json={"count": 2}, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == 'data: {"number":0}\n\ndata: {"number":1}\n\n'


def test_an_error_before_the_first_chunk_has_its_status_and_one_later_breaks_the_stream(flows: Serving) -> None:
    assert httpx2.post(f"{flows.url}/breaks", json={"after": 0}).status_code == 500
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.post(f"{flows.url}/breaks", json={"after": 3})


def test_context_reaches_the_worker_and_comes_back(flows: Serving) -> None:
    headers = {"User-Agent": "tester"}
    answers = [httpx2.post(f"{flows.url}/greet?q=7", json={"name": "Ada"}, headers=headers) for _ in range(2)]
    first, second = answers
    assert first.status_code == 202
    assert re.match(r"Ada by tester on /greet 7 ", first.text)
    assert int(second.headers["X-Calls"]) == int(first.headers["X-Calls"]) + 1
    assert "HttpOnly" in first.headers["set-cookie"]
    assert not Path(first.text.split()[-1]).exists()


def test_hooks_ran_in_order(flows: Serving) -> None:
    assert httpx2.post(f"{flows.url}/history").json() == ["init", "first", "second"]
    assert httpx2.post(f"{flows.url}/worker").json() == 1
