"""A service with a mounted application, served: it shares the instance, and needs no Triton."""

from collections.abc import Iterator

import httpx2
import pytest
from websockets.sync.client import connect

from tests.e2e.serving import Serving, name_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving("mounted:Mounted") as serving:
        yield serving


def test_routes_and_apis_share_one_instance(server: Serving) -> None:
    before = httpx2.post(f"{server.url}/add", json={"by": 5}).json()
    answer = httpx2.get(f"{server.url}/v1/calls?plus=1")
    assert answer.json() == before + 1
    assert answer.headers["x-stamp"] == "seen"
    assert httpx2.get(f"{server.url}/v1/calls?plus=x").status_code == 422


def test_a_websocket_of_the_mounted_application(server: Serving) -> None:
    start = httpx2.get(f"{server.url}/v1/calls").json()
    with connect(f"{server.url.replace('http', 'ws')}/v1/live") as socket:
        socket.send("3")
        assert socket.recv() == str(start + 3)


def test_the_services_own_checks_answer_for_it(server: Serving) -> None:
    assert httpx2.get(f"{server.url}/livez").status_code == 200
    assert httpx2.get(f"{server.url}/readyz").status_code == 200
    assert "mounted_calls" in httpx2.get(f"{server.url}/metrics").text
    assert httpx2.post(f"{server.url}/sink").json() is None
    assert httpx2.get(f"{server.url}/readyz").status_code == 503
    assert httpx2.get(f"{server.url}/livez").status_code == 200
    assert httpx2.post(f"{server.url}/add").status_code == 200


def test_a_wsgi_application(server: Serving) -> None:
    assert httpx2.get(f"{server.url}/old/page").text == "GET /page"


def test_it_starts_no_triton(server: Serving) -> None:
    assert not any("triton" in name_of(process) for process in server.family())
