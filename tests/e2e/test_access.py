"""Access and limits on the real thing: wrong keys, expired tokens, bodies too large, slow clients, 10,000 idle connections."""

import json
import resource
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import jwt
import psutil
import pytest

from tests.e2e.serving import COMMAND, Serving, eventually
from tests.signing import claims

pytestmark = pytest.mark.e2e
SECRET = "a secret that is long enough for HS256"
IDLE = 10_000
LOW_LIMIT = 30_000
"""Of files, for this process: a connection is one here and one there."""


def new_key(folder: Path, name: str, *scopes: str) -> str:
    options = [word for scope in scopes for word in ("--scope", scope)]
    command = [COMMAND, "keys", "new", name, *options, "--file", str(folder / "keys.txt")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def config(folder: Path, **http: float) -> str:
    """A file that asks for keys and tokens."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    auth = {"keys_file": str(folder / "keys.txt"), "jwt": {"secret_file": str(secret)}}
    file = folder / "orchestrator.yaml"
    logging = {"access": {"enabled": True}}
    said = {"auth": auth, "http": http, "logging": logging}
    file.write_text(json.dumps({"version": 1, "services": {"defaults": said}}))
    return str(file)


def token(**more: object) -> str:
    return jwt.encode(claims(**{"scope": "Configured", **more}), SECRET, algorithm="HS256")


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


CALL = {"name": "FROM_CODE"}


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_is_not_let_in_is_told_why_and_the_service_goes_on(tmp_path: Path, workers: int) -> None:
    good, other = new_key(tmp_path, "shop", "Configured"), new_key(tmp_path, "other", "Other", "metrics")
    file = config(tmp_path, header_timeout=2)
    options = ("--config", file, "--max-body-mb", "1", "--workers", str(workers))
    with Serving("configured:Configured", *options) as server, httpx2.Client(base_url=server.url) as client:

        def status(path: str = "/environment", **headers: str) -> int:
            return client.post(path, json=CALL, headers=headers).status_code

        assert client.post("/environment", json=CALL, headers=bearer(good)).text == "code"
        assert status(**bearer(token())) == 200
        assert status() == 401
        assert status(**bearer("wrong")) == 401
        assert status(**bearer(token(exp=int(time.time()) - 3600))) == 401
        assert status(**bearer(other)) == 403
        assert client.get("/metrics", headers=bearer(other)).status_code == 200
        assert client.get("/readyz").status_code == 200
        large = client.post("/environment", content=b"x" * 2**21, headers=bearer(good))
        assert large.status_code == 413
        assert client.get("/livez", headers={"x": "a" * 40_000}).status_code == 431
        added = new_key(tmp_path, "added", "Configured")
        assert status(**bearer(added)) == 200
        assert client.post("/environment", json=CALL, headers={"x-api-key": good}).text == "code"
        assert eventually(lambda: ",caller=added) (status=200" in server.log, 5)
        for secret in (good, other, added, SECRET):
            assert secret not in server.log


def test_a_slow_client_is_cut_off_while_others_are_answered(tmp_path: Path) -> None:
    key = new_key(tmp_path, "shop", "Configured")
    file = config(tmp_path, header_timeout=2, body_timeout=2)
    with Serving("configured:Configured", "--config", file) as server:
        address = address_of(server)
        head = f"POST /environment HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        slow = [socket.create_connection(address, 20) for _ in range(200)]
        try:
            started = time.monotonic()
            for number, each in enumerate(slow):
                each.sendall((head if number % 2 else f"{head}content-length: 20\r\n\r\n{{").encode())
            with httpx2.Client(base_url=server.url, headers=bearer(key)) as client:
                answered = [client.post("/environment", json=CALL).status_code for _ in range(50)]
            assert answered == [200] * 50
            said = [each.recv(1000)[:12] for each in slow]
            took_s = time.monotonic() - started
            assert said == [b"HTTP/1.1 408"] * len(slow)
            assert 1.5 < took_s < 15
            print(f"\n200 slow clients were cut off after {took_s:.1f} s; 50 calls between them: all answered")
        finally:
            for each in slow:
                each.close()


def address_of(server: Serving) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 2000:
        pytest.skip(f"a process may have {hard} files here")
    wanted = LOW_LIMIT if hard == resource.RLIM_INFINITY else min(hard, LOW_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def durations(client: httpx2.Client, count: int) -> list[float]:
    took = []
    for _ in range(count):
        started = time.perf_counter()
        answer = client.post("/environment", json=CALL)
        took.append(time.perf_counter() - started)
        assert (answer.status_code, answer.text) == (200, "code")
    return sorted(took)


def test_ten_thousand_idle_connections_cost_a_bounded_memory(tmp_path: Path) -> None:
    key = new_key(tmp_path, "shop", "Configured")
    file = config(tmp_path, header_timeout=60, keep_alive_timeout=60, max_connections=IDLE)
    with many_files(), Serving("configured:Configured", "--config", file) as server:
        front = psutil.Process(server.process.pid)
        address = address_of(server)
        idle: list[socket.socket] = []
        try:
            with httpx2.Client(base_url=server.url, headers=bearer(key)) as client:
                before_s = durations(client, 200)
                before = front.memory_info().rss
                started = time.monotonic()
                for number in range(IDLE):
                    each = socket.create_connection(address, 20)
                    if number % 2:  # half of them in the middle of a head
                        each.sendall(b"POST /environment HTTP/1.1\r\nhost: x\r\nx-slow: ")
                    idle.append(each)
                assert eventually(lambda: len(front.net_connections()) >= IDLE * 0.98, 30)
                opened_s = time.monotonic() - started
                held = len(front.net_connections())
                during_s = durations(client, 200)
                during = front.memory_info().rss
                # More than are allowed: each new one takes the place of an idle one.
                for _ in range(500):
                    idle.append(socket.create_connection(address, 20))
                after_s = durations(client, 200)
                most = len([each for each in front.net_connections() if each.status == psutil.CONN_ESTABLISHED])
            with httpx2.Client(base_url=server.url, headers=bearer(key)) as another:
                durations(another, 10)
        finally:
            for each in idle:
                each.close()
        assert eventually(lambda: len(front.net_connections()) < 50, 20)
        with httpx2.Client(base_url=server.url, headers=bearer(key)) as client:
            durations(client, 10)
        grown = during - before
        print(
            f"\n{held} connections, opened in {opened_s:.1f} s: {grown / 2**20:.0f} MiB, {grown / held:.0f} bytes each"
        )
        for name, took in (("alone", before_s), ("with 10,000 idle ones", during_s), ("at the limit", after_s)):
            print(f"a call {name}: median {statistics.median(took) * 1e3:.2f} ms, p99 {took[-2] * 1e3:.2f} ms")
        assert most <= IDLE + 60
        assert grown < 400 * 2**20
        assert statistics.median(during_s) < 5 * statistics.median(before_s)


def test_idle_connections_are_ended_and_the_rest_is_not(tmp_path: Path) -> None:
    key = new_key(tmp_path, "shop", "Configured")
    file = config(tmp_path, header_timeout=2)
    with Serving("configured:Configured", "--config", file) as server:
        front = psutil.Process(server.process.pid)
        before = len(front.net_connections())
        idle = [socket.create_connection(address_of(server), 20) for _ in range(300)]
        try:
            stop = threading.Event()
            failures: list[int] = []

            def call() -> None:
                with httpx2.Client(base_url=server.url, headers=bearer(key)) as client:
                    while not stop.is_set():
                        status = client.post("/environment", json=CALL).status_code
                        if status != 200:
                            failures.append(status)

            caller = threading.Thread(target=call)
            caller.start()
            try:
                assert eventually(lambda: len(front.net_connections()) <= before + 5, 20)
            finally:
                stop.set()
                caller.join()
            assert not failures
            assert all(each.recv(1) == b"" for each in idle)
        finally:
            for each in idle:
                each.close()
