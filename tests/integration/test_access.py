"""Who may call: `server/auth.py` around the local front-end."""

import asyncio
import logging
import ssl
import statistics
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

import orchestrator
from orchestrator.client import SyncHTTPClient
from orchestrator.errors import CallError, SettingsError
from orchestrator.sdk import read_service
from orchestrator.server import ACCESS_LOGGER, create_app
from orchestrator.server.auth import Authenticator, Guard
from orchestrator.server.auth_keys import NewKey
from orchestrator.server.auth_rights import Rights
from orchestrator.server.rate import Rates
from orchestrator.spec.config import Auth, Jwt, Rate
from orchestrator.testing import local_client
from orchestrator.worker.local import LocalBackend
from tests.integration.guarded import Raw, certificates, guarded_server
from tests.signing import SigningKey, claims, key_server

SECRET = "a secret that is long enough for HS256"
ALL = NewKey.make("everything", ["*"])
SHOP = NewKey.make("shop", ["Shop"])
GREET = NewKey.make("greeter", ["Shop.greet"])
METRICS = NewKey.make("prometheus", ["metrics"])
NONE = NewKey.make("nobody", [])


@pytest.fixture(name="keys")
def file_of_keys(tmp_path: Path) -> str:
    file = tmp_path / "keys.txt"
    file.write_text("".join(key.line for key in (ALL, SHOP, GREET, METRICS, NONE)))
    return str(file)


def shop(**config: Any) -> type:
    @orchestrator.service(name="Shop", **config)
    class Shop:
        @orchestrator.api
        def greet(self, name: str = "you") -> str:
            return f"Hello, {name}"

        @orchestrator.api
        async def count(self, to: int) -> AsyncGenerator[str, None]:
            for number in range(to):
                yield str(number)

    return Shop


@contextmanager
def served(**config: Any) -> Iterator[TestClient]:
    with local_client(shop(**config)) as client:
        yield client


def bearer(key: NewKey | str) -> dict[str, str]:
    return {"authorization": f"Bearer {key if isinstance(key, str) else key.key}"}


def test_nobody_comes_in_without_a_key(keys: str) -> None:
    with served(auth={"keys_file": keys}) as client:
        answer = client.post("/greet", json={}, headers={"x-request-id": "abc"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="Shop"'
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "abc"
        assert answer.json()["type"] == "urn:orchestrator:error:unauthenticated"
        for path in ("/nothing", "/metrics", "/docs", "/openapi.json", "/schema.json", "/status.json", "/docs/x"):
            assert client.get(path).status_code == 401, path
        for path in ("/livez", "/readyz", "/healthz", "/"):
            assert client.get(path).status_code == 200, path
        page = client.get("/metrics", headers=bearer(METRICS)).text
        assert 'orchestrator_requests_total{api="greet",service="Shop",status="401"} 1.0' in page


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer ork_wrong"},
        {"authorization": f"bearer {SHOP.key}x"},
        {"authorization": f"Bearer sha256:{'0' * 64}"},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {SHOP.key}"},
        {"authorization": SHOP.key},
        {"x-api-key": SHOP.line.split()[0]},
        {"x-api-key": ""},
        {"authorization": "Bearer wrong", "x-api-key": SHOP.key},
        {"cookie": f"authorization=Bearer {SHOP.key}"},
    ],
)
def test_what_is_no_key_is_none(keys: str, headers: dict[str, str]) -> None:
    with served(auth={"keys_file": keys}) as client:
        answer = client.post("/greet", json={}, headers=headers)
        assert answer.status_code == 401
        assert client.get(f"/greet?token={SHOP.key}&authorization=Bearer%20{SHOP.key}").status_code == 401


def test_a_wrong_key_is_told_so_and_not_repeated(keys: str) -> None:
    with served(auth={"keys_file": keys}) as client:
        answer = client.post("/greet", json={}, headers=bearer("ork_guessed"))
    assert answer.headers["www-authenticate"].startswith(
        'Bearer realm="Shop", error="invalid_token", error_description="'
    )
    assert "ork_guessed" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        (ALL, {"/greet", "/count", "/metrics", "/docs", "/schema.json", "/nothing"}),
        (SHOP, {"/greet", "/count", "/docs", "/schema.json", "/nothing"}),
        (GREET, {"/greet", "/docs", "/schema.json"}),
        (METRICS, {"/metrics", "/docs", "/schema.json"}),
        (NONE, {"/docs", "/schema.json"}),
    ],
)
def test_a_key_opens_what_its_scopes_say(keys: str, key: NewKey, allowed: set[str]) -> None:
    with served(auth={"keys_file": keys}) as client:
        for path in ("/greet", "/count", "/metrics", "/docs", "/schema.json", "/nothing"):
            for headers in (bearer(key), {"x-api-key": key.key}, {"authorization": "Basic eDp5", "x-api-key": key.key}):
                method, body = ("POST", {"to": 1}) if path in ("/greet", "/count") else ("GET", None)
                answer = client.request(method, path, json={} if path == "/greet" else body, headers=headers)
                if path not in allowed:
                    assert answer.status_code == 403, path
                elif path == "/nothing":
                    assert answer.status_code == 404
                else:
                    assert answer.status_code == 200, path


def test_a_key_that_does_not_reach_so_far_is_told_which_does(keys: str) -> None:
    with served(auth={"keys_file": keys}) as client:
        answer = client.post("/count", json={"to": 1}, headers=bearer(GREET))
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:orchestrator:error:forbidden"
    assert answer.json()["detail"] == "greeter has not the scope Shop or Shop.count"
    assert answer.headers["www-authenticate"] == 'Bearer realm="Shop", error="insufficient_scope", scope="Shop"'


def test_pages_can_be_free(keys: str) -> None:
    with served(auth={"keys_file": keys, "free": "docs, metrics"}) as client:
        for path in ("/metrics", "/docs", "/openapi.json", "/schema.json", "/"):
            assert client.get(path).status_code == 200, path
        assert client.get("/status.json").status_code == 401
        assert client.post("/greet", json={}).status_code == 401


def test_the_clients_token_is_what_is_checked(keys: str) -> None:
    with guarded_server(shop(auth={"keys_file": keys})) as (host, port):
        url = f"http://{host}:{port}"
        with SyncHTTPClient(url, token=SHOP.key) as client:
            assert client.greet(name="Ada") == "Hello, Ada"
        with (
            SyncHTTPClient(url, token=NONE.key) as client,
            pytest.raises(CallError, match=r"nobody has not the scope Shop or Shop\.greet"),
        ):
            client.greet(name="Ada")


# --- tokens ---


def token(**more: Any) -> str:
    return jwt.encode(claims(**more), SECRET, algorithm="HS256")


def test_tokens_and_keys_side_by_side(keys: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    auth = {"keys_file": keys, "jwt": {"secret_file": str(secret), "audience": "shop"}}
    with served(auth=auth) as client:

        def status(sent: str) -> int:
            return int(client.post("/greet", json={}, headers=bearer(sent)).status_code)

        assert status(token(aud="shop")) == 200
        assert status(SHOP.key) == 200
        assert status(token(aud="shop", scope="Other")) == 403
        assert status(token(aud="other")) == 401
        assert status(token(aud="shop")[:-3] + "abc") == 401
        expired = client.post("/greet", json={}, headers=bearer(token(aud="shop", exp=int(time.time()) - 3600)))
        assert expired.status_code == 401
        assert expired.json()["detail"] == "the token has expired"
        assert 'error="invalid_token"' in expired.headers["www-authenticate"]


def test_published_keys_and_a_publisher_that_is_down() -> None:
    key = SigningKey("one", "ES256")
    with key_server(key) as publisher:
        publisher.status = 503
        with served(auth={"jwt": {"jwks_url": publisher.url}}) as client:
            answer = client.post("/greet", json={}, headers=bearer(key.sign()))
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
            assert client.post("/greet", json={}).status_code == 401
            assert client.get("/livez").status_code == 200
            publisher.status = 200
            time.sleep(2.1)
            assert client.post("/greet", json={}, headers=bearer(key.sign())).status_code == 200


# --- what else there is ---


def test_preflights_are_free_and_refusals_are_readable_by_other_origins(keys: str) -> None:
    http = {"cors": {"enabled": True, "access_control_allow_origins": "https://a.example"}}
    with served(auth={"keys_file": keys}, http=http, path_prefix="/v1") as client:
        asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
        assert client.options("/v1/greet", headers=asked).status_code == 200
        answer = client.post("/v1/greet", json={}, headers={"origin": "https://a.example"})
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert client.get("/v1/livez").status_code == 200
        assert client.get("/v1/v1/livez").status_code == 401
        assert client.get("/livez").status_code == 404
        assert client.post("/v1/greet", json={}, headers=bearer(SHOP)).status_code == 200


def test_what_a_service_brings_along_is_guarded_too(keys: str) -> None:
    reached: list[str] = []

    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"own"})

    @orchestrator.asgi_app(own, path="/own")
    @orchestrator.service(auth={"keys_file": keys})
    class Shop:
        @orchestrator.api
        def greet(self) -> str:
            return "hi"

    with local_client(Shop) as client:
        assert client.get("/own/x").status_code == 401
        assert client.get("/own/x", headers=bearer(GREET)).status_code == 403
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/own/ws"):
            raise AssertionError("it was let in")
        assert closed.value.code == 1008
        assert not reached
        assert client.get("/own/x", headers=bearer(SHOP)).text == "own"
        with client.websocket_connect("/own/ws", headers=bearer(SHOP)):
            pass
        assert reached == ["http", "websocket"]


def test_the_access_log_names_the_caller_and_never_the_key(keys: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with served(auth={"keys_file": keys}, logging={"access": {"enabled": True}}) as client:
        client.post("/greet", json={}, headers=bearer(SHOP))
        client.post("/greet", json={}, headers={"x-api-key": "ork_wrong"})
        client.post("/count", json={"to": 1}, headers=bearer(GREET))
    lines = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOGGER]
    assert [",caller=" in line for line in lines] == [True, False, True]
    assert ",caller=shop) (status=200" in lines[0]
    assert ",caller=greeter) (status=403" in lines[2]
    for secret in (SHOP.key, GREET.key, "ork_wrong"):
        assert secret not in caplog.text


def test_a_client_that_sends_too_many_requests_is_told_when_to_come_back(keys: str) -> None:
    auth = {"keys_file": keys, "rate": {"per_second": 0.25, "burst": 3}}
    with served(auth=auth) as client:
        statuses = [client.post("/greet", json={}, headers=bearer(SHOP)).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = client.post("/greet", json={}, headers={"x-api-key": SHOP.key})
        assert refused.json()["type"] == "urn:orchestrator:error:overloaded"
        assert refused.json()["detail"] == "shop sends too many requests"
        assert 3 <= int(refused.headers["retry-after"]) <= 4
        assert client.post("/greet", json={}, headers=bearer(GREET)).status_code == 200
        assert client.get("/livez").status_code == 200


def test_a_body_is_not_waited_for_where_nobody_is_let_in(keys: str) -> None:
    with guarded_server(shop(auth={"keys_file": keys})) as address, Raw(address) as raw:
        raw.send("POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n")
        assert raw.status() == 401


def test_a_connection_belongs_to_nobody(keys: str, caplog: pytest.LogCaptureFixture) -> None:
    """Requests behind each other, each with its own key."""
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    head = "GET {} HTTP/1.1\r\nhost: x\r\n{}\r\n"
    with (
        guarded_server(
            shop(auth={"keys_file": keys}, logging={"access": {"enabled": True, "skip_paths": []}})
        ) as address,
        Raw(address) as raw,
    ):
        sent = [
            ("/schema.json", f"x-api-key: {SHOP.key}\r\n"),
            ("/livez", ""),
            ("/schema.json", ""),
            ("/schema.json", f"x-api-key: {NONE.key}\r\n"),
        ]
        raw.send("".join(head.format(*each) for each in sent) + head.format("/livez", "connection: close\r\n"))
        while raw.sock.recv(65536):
            pass
    lines = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOGGER]
    callers = [line.partition(",caller=")[2].partition(")")[0] for line in lines]
    statuses = [line.partition("(status=")[2][:3] for line in lines]
    assert callers == ["shop", "", "", "nobody", ""]
    assert statuses == ["200", "200", "401", "200", "200"]


def test_it_does_not_start_where_a_file_cannot_be_used(tmp_path: Path) -> None:
    missing = tmp_path / "keys.txt"
    definition = read_service(shop(auth={"keys_file": str(missing)}), "shop:Shop")
    with pytest.raises(SettingsError, match=r"auth\.keys_file=.*: cannot be used: No such file or directory"):
        create_app(definition.spec, LocalBackend(definition))


def test_keys_over_tls_with_and_without_certificates_of_clients(keys: str, tmp_path: Path) -> None:
    cert, key = certificates(tmp_path)
    tls: dict[str, Any] = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    url = "https://{}:{}".format
    context = ssl.create_default_context(cafile=cert)
    with (
        guarded_server(shop(auth={"keys_file": keys}), **tls) as address,
        httpx2.Client(base_url=url(*address), verify=context) as client,
    ):
        assert client.post("/greet", json={}, headers=bearer(SHOP)).text == "Hello, you"
        assert client.post("/greet", json={}).status_code == 401
    mutual = tls | {"ssl_ca_certs": str(cert), "ssl_cert_reqs": 2}
    with guarded_server(shop(auth={"keys_file": keys}), **mutual) as address:
        # No certificate, whatever the key.
        with httpx2.Client(base_url=url(*address), verify=context) as client, pytest.raises(httpx2.HTTPError):
            client.post("/greet", json={}, headers=bearer(SHOP))
        context.load_cert_chain(cert, key)
        with httpx2.Client(base_url=url(*address), verify=context) as client:
            assert client.post("/greet", json={}, headers=bearer(SHOP)).text == "Hello, you"
            assert client.post("/greet", json={}, headers=bearer("wrong")).status_code == 401


# --- what it costs ---


def seconds(run: Any, calls: int) -> float:
    """One call of many, in the best of a few rounds."""

    async def rounds() -> float:
        took = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(calls):
                await run()
            took.append((time.perf_counter() - started) / calls)
        return min(took)

    return asyncio.run(rounds())


def test_a_key_costs_little_of_a_call(keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The guard alone, against a call of a service that does nothing, over HTTP on this machine."""
    definition = read_service(shop(), "shop:Shop")
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    auth = Auth(keys_file=keys, jwt=Jwt(secret_file=str(secret)), rate=Rate(per_second=1e9))
    inside = 0

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal inside
        inside += 1

    guard = Guard(
        nothing,
        authenticator=Authenticator(auth),
        rights=Rights(definition.spec, home=True),
        rates=Rates(auth.rate),
        refusal=lambda _, error: pytest.fail(str(error)),
    )

    def through(app: Any, credential: str) -> float:
        headers = [
            (b"host", b"x"),
            (b"accept", b"*/*"),
            (b"user-agent", b"x" * 20),
            (b"content-type", b"application/json"),
        ]
        headers += [(b"content-length", b"2"), (b"authorization", f"Bearer {credential}".encode())]
        scope = {"type": "http", "method": "POST", "path": "/greet", "root_path": "", "headers": headers}
        return seconds(lambda: app(scope, None, None), 3000)

    bare = through(nothing, SHOP.key)
    key, jwt_known = through(guard, SHOP.key) - bare, through(guard, token()) - bare
    assert inside == 3 * 7 * 3000

    with guarded_server(shop()) as (host, port), httpx2.Client(base_url=f"http://{host}:{port}") as client:
        took = []
        for _ in range(300):
            started = time.perf_counter()
            client.post("/greet", json={})
            took.append(time.perf_counter() - started)
    call = statistics.median(took)
    with capsys.disabled():
        print(f"\nguard: key {key * 1e6:.1f} us, known token {jwt_known * 1e6:.1f} us; a call {call * 1e6:.0f} us")
        print(f"       a key is {key / call:.2%} of a call")
    assert key < 0.05 * call
    assert jwt_known < 0.05 * call
