"""What one connection may cost: `server/limits.py`, on real sockets."""

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.server import FrontendOptions
from tests.integration.guarded import Address, Raw, certificates, guarded_server

GREET = "POST /greet HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CALL = GREET + "content-length: 2\r\n\r\n{}"


@contextmanager
def served(options: FrontendOptions | None = None, tls: dict[str, Any] | None = None, **http: Any) -> Iterator[Address]:
    @orchestrator.service(name="Shop", http=http, traffic={"timeout": 20})
    class Shop:
        @orchestrator.api
        def greet(self, name: str = "you") -> str:
            return f"Hello, {name}"

        @orchestrator.api
        async def slow(self, seconds: float) -> str:
            await asyncio.sleep(seconds)
            return "done"

        @orchestrator.api
        async def count(self, to: int, pause: float) -> AsyncGenerator[str, None]:
            for number in range(to):
                yield str(number)
                await asyncio.sleep(pause)

    with guarded_server(Shop, options=options, **(tls or {})) as address:
        yield address


def counted(address: Address, status: int) -> float:
    connection = http.client.HTTPConnection(*address)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    line = f'orchestrator_requests_total{{api="",service="Shop",status="{status}"}} '
    return sum(float(each.removeprefix(line)) for each in page.splitlines() if each.startswith(line))


def answers(address: Address) -> bool:
    with Raw(address) as raw:
        raw.send(CALL)
        return raw.status() == 200


# --- heads ---


def test_a_head_may_be_so_long_and_no_longer() -> None:
    with served(max_header_bytes=4096) as address:
        for length, status in ((3800, 200), (4096, 431), (200_000, 431)):
            with Raw(address) as raw:
                raw.send(f"{GREET}x-long: {'a' * length}\r\ncontent-length: 2\r\n\r\n{{}}")
                assert raw.status() == status, length
                if status == 431:
                    assert raw.ends()
        with Raw(address) as raw:  # the address is part of it
            raw.send(f"GET /livez?{'a' * 5000} HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = raw.answer()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"content-type: application/problem+json" in answer.lower()
        assert b'"detail":"the headers are over the limit of 4096 bytes or 100 lines"' in answer
        assert counted(address, 431) == 3
        assert answers(address)


def test_a_long_body_is_no_long_head() -> None:
    with served(max_header_bytes=1024) as address, Raw(address) as raw:
        for _ in range(2):
            body = '{"name": "' + "a" * 100_000 + '"}'
            raw.send(f"{GREET}content-length: {len(body)}\r\n\r\n{body}")
            assert raw.status() == 200
            body = '{"name": "' + "a" * 500 + '"}'
            raw.send(f"{GREET}content-length: {len(body)}\r\n\r\n{body}")
            assert raw.status() == 200


def test_a_head_that_never_ends_is_cut_off_before_it_is_large() -> None:
    with served(max_header_bytes=8192) as address, Raw(address) as raw:
        raw.send(GREET)
        sent = 0
        try:
            while sent < 10 * 2**20:
                raw.send(f"x-{sent}: {'a' * 1000}\r\n")
                sent += 1000
                time.sleep(0.001)
        except OSError:
            pass
        assert sent < 5 * 2**20
        assert answers(address)


def test_a_client_that_sends_on_hears_why_it_was_cut_off() -> None:
    with served(max_header_bytes=8192) as address, Raw(address) as raw:
        raw.send(GREET)
        for _ in range(100):
            raw.send(f"x: {'a' * 1000}\r\n")
        assert raw.status() == 431


def test_a_request_may_have_so_many_headers() -> None:
    with served(max_headers=20) as address:
        for more, status in ((17, 200), (18, 431)):  # with host, type and length
            with Raw(address) as raw:
                raw.send(
                    GREET + "".join(f"x-{number}: 1\r\n" for number in range(more)) + "content-length: 2\r\n\r\n{}"
                )
                assert raw.status() == status


def test_requests_behind_each_other_on_a_connection_are_all_answered() -> None:
    """Far more than a head may be long, in one piece, cut anywhere."""
    with served(max_header_bytes=1024) as address, Raw(address) as raw:
        raw.send(CALL * 40 + CALL[:50])
        assert statuses(raw, 40) == [b"200"] * 40
        raw.send(CALL[50:])
        assert raw.status() == 200


def statuses(raw: Raw, count: int) -> list[bytes]:
    came = b""
    while came.count(b"Hello, you") < count:
        more = raw.sock.recv(65536)
        assert more, came
        came += more
    return [part[:3] for part in came.split(b"HTTP/1.1 ")[1:]]


# --- slow clients ---


def test_a_head_that_comes_byte_by_byte_is_refused() -> None:
    with served(header_timeout=0.6) as address, Raw(address) as raw:
        started = time.monotonic()
        raw.sock.settimeout(0.05)
        answer = b""
        for byte in CALL * 10:
            try:
                raw.send(byte)
                answer = raw.sock.recv(65536)
                break
            except TimeoutError:
                continue
        took_s = time.monotonic() - started
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"the headers took longer than 0.6 seconds" in answer
        assert 0.5 < took_s < 5
        assert counted(address, 408) == 1
        assert answers(address)


def test_a_connection_that_says_nothing_is_ended_without_a_word() -> None:
    with served(header_timeout=0.4) as address, Raw(address) as raw:
        assert raw.ends()
        assert counted(address, 408) == 0


@pytest.mark.parametrize("crumb", ["\r\n", "P", "POST / HTTP/1.1\r\nx: "])
def test_a_crumb_after_an_answer_does_not_keep_a_connection(crumb: str) -> None:
    """uvicorn forgets its own timer with the first byte."""
    with served(header_timeout=0.4, keep_alive_timeout=30) as address, Raw(address) as raw:
        raw.send(CALL)
        assert raw.status() == 200
        raw.send(crumb)
        assert raw.status() == (0 if crumb == "\r\n" else 408)


def test_a_connection_between_two_requests_has_its_own_time() -> None:
    with served(header_timeout=0.4, keep_alive_timeout=2) as address, Raw(address) as raw:
        raw.send(CALL)
        assert raw.status() == 200
        time.sleep(1)
        raw.send(CALL)
        assert raw.status() == 200
        started = time.monotonic()
        assert raw.ends()
        assert 1.5 < time.monotonic() - started < 6


def test_a_body_that_does_not_come_is_refused() -> None:
    with served(body_timeout=0.6) as address:
        for sent in ("", "{"):
            with Raw(address) as raw:
                raw.send(f"{GREET}content-length: 2\r\n\r\n{sent}")
                answer = raw.answer()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"the body comes too slowly" in answer
        with Raw(address) as raw:  # byte by byte, for ever
            raw.send(f"{GREET}transfer-encoding: chunked\r\n\r\n")
            raw.sock.settimeout(0.05)
            said = b""
            for _ in range(100):
                try:
                    raw.send("1\r\n \r\n")
                    said = raw.sock.recv(65536)
                    break
                except TimeoutError:
                    continue
        assert said.startswith(b"HTTP/1.1 408 ")
        assert answers(address)


def test_a_body_that_goes_on_has_its_time() -> None:
    with served(body_timeout=0.4) as address, Raw(address) as raw:
        body = '{"name": "' + "a" * 20_000 + '"}'
        raw.send(f"{GREET}content-length: {len(body)}\r\n\r\n")
        for position in range(0, len(body), 2000):
            raw.send(body[position : position + 2000])
            time.sleep(0.15)
        assert raw.status() == 200


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    with served(body_timeout=0.4) as address, Raw(address) as raw:
        raw.send(f"{GREET}expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert raw.sock.recv(100).startswith(b"HTTP/1.1 100 ")
        raw.send("{}")
        assert raw.status() == 200


def test_whoever_waits_for_us_is_not_hurried() -> None:
    with served(header_timeout=0.2, body_timeout=0.2, keep_alive_timeout=0.2) as address:
        connection = http.client.HTTPConnection(*address)
        connection.request("POST", "/slow", b'{"seconds": 1.5}')
        assert connection.getresponse().read() == b"done"
        connection.close()
        connection.request("POST", "/count", b'{"to": 4, "pause": 0.4}')
        assert connection.getresponse().read() == b"0123"
        connection.close()


def test_a_body_that_is_too_long_is_refused_and_read() -> None:
    with served(FrontendOptions(max_body_bytes=10_000)) as address, Raw(address) as raw:
        raw.send(f"{GREET}content-length: 20000\r\n\r\n" + "a" * 20_000)
        assert raw.status() == 413
        raw.send(CALL)
        assert raw.status() == 200


# --- how many ---


def test_idle_connections_make_room_for_new_ones() -> None:
    with served(max_connections=20, header_timeout=30) as address:
        idle = [Raw(address) for _ in range(20)]
        try:
            for _ in range(40):
                assert answers(address)
            ended = 0
            for each in idle:
                each.sock.settimeout(0.05)
                try:
                    ended += each.ends()
                except TimeoutError:
                    continue
            assert 1 <= ended <= 20
        finally:
            for each in idle:
                each.sock.close()


def test_where_none_is_idle_a_new_one_is_refused() -> None:
    with served(max_connections=5, header_timeout=30) as address:
        busy = [Raw(address) for _ in range(5)]
        try:
            for each in busy:
                each.send('POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"seconds": 1.5}')
            time.sleep(0.3)
            for _ in range(3):
                with Raw(address) as raw:
                    raw.send(CALL)
                    answer = raw.answer()
                    assert answer.startswith(b"HTTP/1.1 503 ")
                    assert b"\r\nRetry-After: 1\r\n" in answer
            assert [each.status() for each in busy] == [200] * 5
            assert answers(address)
        finally:
            for each in busy:
                each.sock.close()


def test_connections_that_have_ended_are_not_counted() -> None:
    with served(max_connections=3) as address:
        for _ in range(50):
            assert answers(address)
        for _ in range(50):
            socket.create_connection(address).close()
        assert answers(address)
        assert counted(address, 503) == 0


# --- TLS ---


def test_the_limits_hold_with_tls(tmp_path: Path) -> None:
    cert, key = certificates(tmp_path)
    context = ssl.create_default_context(cafile=cert)
    tls = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    with served(tls=tls, max_header_bytes=4096, header_timeout=0.6, body_timeout=0.6) as address:
        with Raw(address, context) as raw:
            raw.send(CALL)
            assert raw.status() == 200
            raw.send(f"{GREET}x: {'a' * 5000}\r\n\r\n")
            assert raw.status() == 431
        with Raw(address, context) as raw:
            raw.send("POST")
            assert raw.status() == 408
            assert raw.ends()
        with Raw(address, context) as raw:
            raw.send(f"{GREET}content-length: 2\r\n\r\n")
            assert raw.status() == 408
        with Raw(address, context) as raw:
            assert raw.ends()
        with Raw(address, context) as raw:
            raw.send(CALL)
            assert raw.status() == 200


def test_a_server_that_stops_answers_the_first_request_of_a_connection_that_it_has() -> None:
    """Its client sees a crash otherwise: a new front-end that takes the port over never hears of the connection."""
    statuses = []

    def late(raw: Raw) -> None:
        time.sleep(0.5)  # the server has been told to stop
        raw.send(CALL)
        statuses.append(raw.status())

    with ThreadPoolExecutor(1) as pool:
        with served() as address:
            raw = Raw(address)
            assert answers(address)  # so that it has been accepted
            sent = pool.submit(late, raw)
        with raw:
            sent.result(20)
    assert statuses == [200]
