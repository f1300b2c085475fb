"""What the front-end makes of a service's configuration."""

import logging
import re
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.server import ACCESS_LOGGER
from orchestrator.server.capacity import share
from orchestrator.testing import local_client

ORIGIN = "https://shop.example"
GO_ON = threading.Event()
"""What `wait` waits for."""
FREE = ["/livez", "/readyz", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json", "/docs/static/swagger-ui.css"]


@contextmanager
def served(**config: Any) -> Iterator[TestClient]:
    @orchestrator.service(name="Shop", **config)
    class Shop:
        """From the docstring."""

        @orchestrator.api
        def greet(self, name: str = "you") -> str:
            return f"Hello, {name}"

        @orchestrator.api
        def wait(self) -> str:
            return str(GO_ON.wait(20))

        @orchestrator.api
        async def count(self, to: int) -> AsyncGenerator[str, None]:
            for number in range(to):
                yield str(number)

    GO_ON.clear()
    with local_client(Shop) as client:
        try:
            client.headers["x-request-id"] = "abc"
            yield client
        finally:
            GO_ON.set()


def cors(**options: Any) -> dict[str, Any]:
    return {"cors": {"enabled": True} | {f"access_control_{key}": value for key, value in options.items()}}


# --- CORS ---


def test_pages_of_another_origin_are_let_in_where_they_are_named() -> None:
    http = cors(allow_origins=ORIGIN, expose_headers=["X-Request-ID"], allow_headers="X-Token", max_age=7)
    with served(http=http) as client:
        asked = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-token"}
        preflight = client.options("/greet", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert preflight.headers["access-control-max-age"] == "7"
        assert "x-token" in preflight.headers["access-control-allow-headers"].lower()
        answer = client.post("/greet", json={}, headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-expose-headers"] == "X-Request-ID"
        assert "access-control-allow-credentials" not in answer.headers
        other = client.post("/greet", json={}, headers={"origin": "https://other.example"})
        assert other.status_code == 200
        assert "access-control-allow-origin" not in other.headers
        asked["origin"] = "https://other.example"
        assert client.options("/greet", headers=asked).status_code == 400


def test_origins_can_be_a_pattern_and_bring_credentials() -> None:
    http = cors(allow_origin_regex=r"https://.*\.example", allow_credentials=True, allow_methods="*")
    with served(http=http) as client:
        answer = client.post("/greet", json={}, headers={"origin": ORIGIN, "cookie": "a=b"})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"


def test_a_failed_call_tells_other_origins_too() -> None:
    with served(http=cors(allow_origins="*"), path_prefix="/v1") as client:
        answer = client.post("/v1/greet", content=b"no json", headers={"origin": ORIGIN})
        assert answer.status_code == 400
        assert answer.headers["access-control-allow-origin"] == "*"
        lost = client.post("/greet", json={}, headers={"origin": ORIGIN})
        assert lost.status_code == 404
        assert lost.headers["access-control-allow-origin"] == "*"


def test_nothing_is_said_to_other_origins_by_default() -> None:
    with served() as client:
        answer = client.post("/greet", json={}, headers={"origin": ORIGIN})
        assert not [name for name in answer.headers if name.startswith("access-control")]


# --- path prefix ---


def test_every_route_moves_below_the_prefix_and_nothing_stays() -> None:
    with served(path_prefix="/shop/v1") as client:
        assert client.post("/shop/v1/greet", json={"name": "Ada"}).text == "Hello, Ada"
        assert client.post("/shop/v1/count", json={"to": 3}).text == "012"
        for path in FREE:
            assert client.get(f"/shop/v1{path}").status_code == 200, path
            lost = client.get(path)
            assert lost.status_code == 404, path
            assert lost.headers["content-type"] == "application/problem+json"
            assert lost.json()["detail"] == f"GET {path}: Not Found"
        assert client.get("/shop/v1").status_code == 404
        assert client.get("/shop/v1livez").status_code == 404
        assert client.post("/shop/v1/nothing", json={}).status_code == 404


def test_the_document_says_where_the_routes_are() -> None:
    with served(path_prefix="/v1") as client:
        document = client.get("/v1/openapi.json").json()
        assert document["servers"] == [{"url": "/v1"}]
        assert "/greet" in document["paths"]
    with served() as client:
        assert "servers" not in client.get("/openapi.json").json()


def test_a_mounted_application_moves_too() -> None:
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})

    @orchestrator.asgi_app(hello, path="/own")
    @orchestrator.service(path_prefix="/v1")
    class Mounted:
        @orchestrator.api
        def run(self) -> int:
            return 1

    with local_client(Mounted) as client:
        assert client.get("/v1/own/x").text == "/v1/own"
        assert client.get("/own/x").status_code == 404


# --- metrics ---


def test_the_metrics_page_can_be_switched_off() -> None:
    with served(metrics={"enabled": False}) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_counters_have_their_namespace_and_buckets() -> None:
    with served(metrics={"namespace": "bentoml_service", "duration": {"min": 0.25, "max": 1, "factor": 2}}) as client:
        client.post("/greet", json={})
        page = client.get("/metrics").text
    assert 'bentoml_service_requests_total{api="greet",service="Shop",status="200"} 1.0' in page
    bounds = re.findall(r'bentoml_service_request_duration_seconds_bucket\{api="greet",le="([^"]+)"', page)
    assert bounds == ["0.25", "0.5", "1.0", "+Inf"]
    assert "orchestrator_" not in page


# --- description ---


def test_the_description_goes_before_the_docstring() -> None:
    with served(description="Sells flowers.") as client:
        assert client.get("/openapi.json").json()["info"]["description"] == "Sells flowers."
    with served() as client:
        assert client.get("/openapi.json").json()["info"]["description"] == "From the docstring."


# --- concurrency ---


def wait_for(client: TestClient, in_flight: int, prefix: str = "") -> None:
    """Until so many calls of `wait` run; the page is never refused."""
    for _ in range(200):
        page = client.get(f"{prefix}/metrics").text
        if f'orchestrator_requests_in_progress{{api="wait",service="Shop"}} {in_flight}.0' in page:
            return
        time.sleep(0.02)
    raise AssertionError(page)


@pytest.mark.parametrize(("most", "processes", "own"), [(1, 1, 1), (3, 2, 2), (4, 2, 2), (1, 4, 1)])
def test_every_front_end_process_has_its_share_rounded_up(most: int, processes: int, own: int) -> None:
    assert share(most, processes) == own


@pytest.mark.parametrize("most", [1, 2])
def test_one_call_too_many_is_refused_at_once_and_the_rest_goes_on(most: int) -> None:
    with served(traffic={"max_concurrency": most}) as client, ThreadPoolExecutor(most) as pool:
        running = [pool.submit(client.post, "/wait") for _ in range(most)]
        wait_for(client, most)
        started = time.perf_counter()
        refused = client.post("/greet", json={})
        assert time.perf_counter() - started < 1
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-request-id"] == "abc"
        assert refused.json()["type"] == "urn:orchestrator:error:overloaded"
        assert refused.json()["detail"] == f"Shop has {most} calls in flight, and takes no more"
        for path in FREE:
            assert client.get(path).status_code == 200, path
        GO_ON.set()
        assert [each.result().status_code for each in running] == [200] * most
        assert client.post("/greet", json={}).status_code == 200
        page = client.get("/metrics").text
    assert 'orchestrator_requests_total{api="greet",service="Shop",status="429"} 1.0' in page


def test_the_limit_holds_below_a_prefix() -> None:
    with served(traffic={"max_concurrency": 1}, path_prefix="/v1") as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, "/v1/wait")
        wait_for(client, 1, "/v1")
        assert client.post("/v1/greet", json={}).status_code == 429
        GO_ON.set()
        assert running.result().status_code == 200


def test_a_call_that_fails_gives_its_place_back() -> None:
    with served(traffic={"max_concurrency": 1}) as client:
        assert client.post("/greet", content=b"no json").status_code == 400
        assert client.post("/count", json={"to": 3}).text == "012"
        assert client.post("/greet", json={}).status_code == 200


# --- access log ---


def access(**options: Any) -> dict[str, Any]:
    return {"access": {"enabled": True, **options}}


def test_every_request_has_a_line_but_those_to_be_skipped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    with served(logging=access(), path_prefix="/v1") as client:
        client.post("/v1/greet", json={"name": "Ada"})
        client.get("/v1/livez")
        client.get("/v1/a%0Ab")
        client.post("/greet", json={})
    lines = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOGGER]
    assert len(lines) == 3
    assert re.fullmatch(
        r"testclient:50000 \(scheme=http,method=POST,path=/v1/greet,type=application/json,length=14\)"
        r" \(status=200,type=text/plain; charset=utf-8,length=10\) \d+\.\d{3}ms \(request=abc\)",
        lines[0],
    )
    assert "path=/v1/a%0Ab,type=,length=) (status=404" in lines[1]
    assert "path=/greet" in lines[2]


def test_a_line_tells_what_it_is_asked_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    less = {f"{side}_content_{what}": False for side in ("request", "response") for what in ("type", "length")}
    with served(logging=access(skip_paths=["/greet"], **less)) as client:
        client.post("/greet", json={})
        client.get("/livez")
    (line,) = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOGGER]
    assert re.search(r"\(scheme=http,method=GET,path=/livez\) \(status=200\) ", line)


def test_there_is_no_line_by_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    with served() as client:
        client.post("/greet", json={})
    assert not caplog.records
