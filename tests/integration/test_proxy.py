"""The front-end of a service that is a process of its own, in front of a real one."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from orchestrator.server import create_proxy_app
from orchestrator.spec import Placement, ServiceSpec
from tests.e2e.serving import eventually

UPSTREAM = Path(__file__).parents[1] / "services" / "upstream.py"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def process() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(UPSTREAM), str(port)], stdout=subprocess.DEVNULL)
    address = f"127.0.0.1:{port}"
    try:
        assert eventually(lambda: answers(f"http://{address}/told"), 20)
        yield address
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def proxied(address: str, **config: Any) -> Iterator[httpx2.Client]:
    spec = ServiceSpec(name="Process", target="m:Process", placement=Placement.COMMAND, **config)
    sock = socket.create_server(("127.0.0.1", 0))
    options = uvicorn.Config(
        create_proxy_app(spec, address), log_level="critical", timeout_graceful_shutdown=2, server_header=False
    )
    server = uvicorn.Server(options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}{spec.path_prefix}"
    try:
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@pytest.fixture(scope="module")
def client(process: str) -> Iterator[httpx2.Client]:
    with proxied(process) as client:
        yield client


def told(address: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(httpx2.get(f"http://{address}/told", trust_env=False).text)
    return found


def test_a_request_arrives_as_it_was_sent(client: httpx2.Client) -> None:
    headers = {"X-Own": "1", "Connection": "keep-alive, x-hop", "X-Hop": "1", "TE": "trailers", "Forwarded": "for=x"}
    headers |= {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil.example", "X-Request-ID": "abc"}
    headers |= {"Host": "shop.example", "Authorization": "Bearer x", "Expect": "100-continue"}
    answer = client.put("/echo/a%2Fb/%C3%BC?q=1&q=%20", content=b"\x00body\xff", headers=headers)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["method"], found["path"], found["query"]) == ("PUT", "/echo/a%2Fb/%C3%BC", "q=1&q=%20")
    assert found["body"] == "\x00body\xff"
    arrived = dict(found["headers"])
    assert len(arrived) == len(found["headers"])
    assert arrived["host"] == arrived["x-forwarded-host"] == "shop.example"
    assert arrived["x-forwarded-for"] == "10.0.0.1"  # this machine is trusted: it is the caller
    assert arrived["x-forwarded-proto"] == "http"
    assert arrived["x-request-id"] == answer.headers["x-request-id"] == "abc"
    assert arrived["authorization"] == "Bearer x"
    assert arrived["content-length"] == "6"
    assert arrived["x-own"] == "1"
    assert not {"x-hop", "te", "forwarded", "expect", "transfer-encoding", "connection"} & set(arrived)


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PATCH"])
def test_any_method_goes_through(client: httpx2.Client, method: str) -> None:
    answer = client.request(method, "/echo")
    assert answer.json()["method"] == method
    assert answer.json()["body"] == ""
    assert dict(answer.json()["headers"]).get("content-length", "0") == "0"  # httpx sends one with PATCH
    assert "transfer-encoding" not in dict(answer.json()["headers"])


def test_answers_come_back_as_they_are(client: httpx2.Client) -> None:
    head = client.head("/echo")
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 0
    for code in (204, 304, 404, 418, 500, 503):
        assert client.get(f"/status/{code}").status_code == code
    moved = client.post("/moved", content=b"x")
    assert (moved.status_code, moved.headers["location"]) == (307, "/echo?x=1")
    with client.stream("GET", "/cookies") as answer:
        assert b"".join(answer.iter_raw()) == b"\x1f\x8b not really"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["x-request-id"] == "theirs"
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/; SameSite=lax", "b=2; Path=/; SameSite=lax"]
    assert len(answer.headers.get_list("date")) == 1


def test_a_download_comes_as_it_is_made(client: httpx2.Client) -> None:
    started = time.monotonic()
    with client.stream("GET", "/count?to=6&pause=0.3") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "0"
        assert time.monotonic() - started < 1
        assert list(lines) == ["1", "2", "3", "4", "5"]
    assert time.monotonic() - started > 1.5
    assert not {"x-own", "connection"} & set(answer.headers)


def test_an_upload_goes_as_it_comes(client: httpx2.Client, process: str) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000
            time.sleep(0.3)
        assert told(process)["chunks"] >= 2  # they are there before the last one is sent
        yield b"end"

    answer = client.post("/take", content=parts())
    assert answer.text == "300003"
    assert client.post("/take", content=b"y" * 5_000_000).text == "5000000"


def test_a_caller_who_goes_away_ends_the_request(client: httpx2.Client, process: str) -> None:
    before = told(process)["gone"]
    with client.stream("GET", "/count?pause=0.01") as answer:
        next(answer.iter_raw())
    assert eventually(lambda: told(process)["gone"] == before + 1, 5)
    # And in the middle of a body.
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port or 80)) as sock:
        sock.sendall(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert eventually(lambda: told(process)["chunks"] == 1, 5)
    assert eventually(lambda: told(process)["gone"] == before + 2, 5)


def test_an_answer_that_breaks_off_breaks_off_here_too(client: httpx2.Client) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/break")
    assert client.get("/echo").status_code == 200


def test_many_requests_at_once(client: httpx2.Client) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(client.get("/count?to=50&pause=0.01").text)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["".join(f"{number}\n" for number in range(50))] * 20


def test_a_process_that_is_not_there_is_unavailable() -> None:
    with proxied(f"127.0.0.1:{free_port()}") as client:
        answer = client.post("/anything", content=b"x")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["detail"] == "the process of Process cannot be reached"
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200


def test_a_process_that_hangs_up_is_a_bad_gateway() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.recv(1000)
            connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        with proxied(f"127.0.0.1:{server.getsockname()[1]}") as client:
            for answer in (client.get("/x"), client.post("/x", content=b"1")):
                assert answer.status_code == 502
                assert answer.json()["error"] == "the process of Process broke off without an answer"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_one_that_takes_too_long_is_given_up(process: str) -> None:
    with proxied(process, traffic={"timeout_s": 0.5}) as client:
        assert client.get("/wait?s=5").status_code == 504
        assert client.get("/count?to=8&pause=0.1").status_code == 200  # its head was there in time

        def slowly() -> Iterator[bytes]:
            for _ in range(4):
                yield b"x"
                time.sleep(0.2)

        assert client.post("/take", content=slowly()).text == "4"


def test_health_and_metrics_are_ours_and_docs_are_not(client: httpx2.Client) -> None:
    assert client.get("/livez").text == client.get("/healthz").text == client.get("/readyz").text == "\n"
    client.get("/echo")
    page = client.get("/metrics").text
    assert 'orchestrator_requests_total{api="",service="Process",status="200"}' in page
    assert client.get("/docs").json()["path"] == "/docs"
    assert client.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    ("endpoints", "live", "ready"),
    [
        ({"livez": "/status/200", "readyz": "/status/200"}, 200, 200),
        ({"livez": "/status/500", "readyz": "/status/404"}, 503, 503),
        ({}, 200, 200),
    ],
)
def test_the_process_is_asked_for_its_health(process: str, endpoints: dict[str, str], live: int, ready: int) -> None:
    with proxied(process, endpoints=endpoints) as client:
        assert client.get("/livez").status_code == client.get("/healthz").status_code == live
        assert client.get("/readyz").status_code == ready


def test_the_edge_is_ours(process: str) -> None:
    http = {"cors": {"enabled": True, "access_control_allow_origins": ("https://shop.example",)}}
    with proxied(process, path_prefix="/v1", http=http, traffic={"max_concurrency": 1}) as client:
        answer = client.get("/echo/%61?x", headers={"origin": "https://shop.example"})
        assert answer.json()["path"] == "/echo/%61"
        assert dict(answer.json()["headers"])["x-forwarded-prefix"] == "/v1"
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert client.get("/readyz").status_code == 200
        url = client.base_url.copy_with(path="/echo")
        assert client.get(url).status_code == 404
        with client.stream("GET", "/count?pause=0.01") as running:
            chunks = running.iter_raw()  # kept: the connection is closed with it
            next(chunks)
            full = client.get("/echo")
            assert full.status_code == 429
            assert client.get("/livez").status_code == 200


def test_websockets_are_refused(client: httpx2.Client) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert client.get("/echo", headers=headers).status_code in (400, 403)
