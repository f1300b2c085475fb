"""HTTP of a service whose process answers it: every request is passed on as it comes, every answer as it is.

Nothing is buffered and nothing is decoded. Bodies go chunk by chunk both ways; a caller who goes away ends the request to the
process, and a process that breaks off breaks the connection to the caller.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final
from urllib.parse import quote

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from orchestrator.errors import BackendUnavailable, DeadlineExceeded
from orchestrator.server.attendance import until_gone
from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.paths import route_of
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.reply import Reply
from orchestrator.spec import ServiceSpec

__all__ = ["DEFAULT_HEALTH", "Proxy", "Upstream"]

DEFAULT_HEALTH: Final = "/health"
"""Asked for readiness where `endpoints.readyz` names no other path."""
_CONNECT_S: Final = 5.0
_PROBE_S: Final = 5.0
_IDLE_S: Final = 1.0
"""How long a connection to the process is kept for the next request: below what servers themselves keep them."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_NOT_SENT: Final = frozenset(
    {
        b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto",
        b"x-request-id",
    }
)  # fmt: skip
"""Headers of a request that we answer, or write, ourselves."""
_logger = logging.getLogger("orchestrator.server")

Headers = list[tuple[bytes, bytes]]


class Upstream:
    """The process of a service, as HTTP sees it.

    Args:
        service: its `endpoints` are asked.
        address: `host:port`.
    """

    def __init__(self, service: ServiceSpec, address: str) -> None:
        self.url: Final = httpx2.URL(f"http://{address}/")
        self.missing: Final = ""
        self._service = service
        # Plain HTTP on this machine: no certificates are read, and no proxy of the environment's is asked.
        self.transport: Final = httpx2.AsyncHTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_IDLE_S),
        )

    async def ready(self) -> bool:
        """Whether the process answers, and says that it is ready."""
        path = self._service.endpoints.readyz
        status = await self._status(path or DEFAULT_HEALTH)
        if path is not None:
            return status is not None and status < 400
        # Nobody promised that there is such a path: any answer but "I cannot now" is one.
        return status is not None and (status < 500 or status == 501)

    async def alive(self) -> bool:
        """Whether the process says that it lives, where it was said how to ask."""
        path = self._service.endpoints.livez
        if path is None:
            return True
        status = await self._status(path)
        return status is not None and status < 400

    async def metrics(self, page: bytes) -> bytes:
        """The page as it is: the process's own is not ours to know."""
        return page

    async def close(self) -> None:
        """Ends the connections."""
        await self.transport.aclose()

    async def _status(self, path: str) -> int | None:
        request = httpx2.Request(
            "GET",
            self.url,
            headers=[(b"host", self.url.netloc), (b"accept", b"*/*"), (b"user-agent", b"orchestrator")],
            stream=httpx2.ByteStream(b""),
            extensions={"target": path.encode()},
        )
        try:
            async with asyncio.timeout(_PROBE_S):
                response = await self.transport.handle_async_request(request)
                await response.aclose()
        except (TimeoutError, httpx2.HTTPError):
            return None
        return response.status_code


class Proxy:
    """ASGI application that passes every request on.

    Args:
        service: its `traffic.timeout` is how long the process may take from the end of a request's body to the head of the
            answer.
        upstream: the process.
        metrics: count the requests.
        request_id: of a request.
    """

    def __init__(
        self, service: ServiceSpec, upstream: Upstream, metrics: FrontendMetrics, request_id: Callable[[Request], str]
    ) -> None:
        self._service = service
        self._upstream = upstream
        self._request_id = request_id
        self._requests = metrics.requests
        self._duration = metrics.duration.labels(service.name, "")
        self._in_progress = metrics.in_progress.labels(service.name, "")
        self._last_request = metrics.last_request.labels(service.name, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        started = time.perf_counter()
        self._in_progress.inc()
        self._last_request.set_to_current_time()
        exchange = _Exchange(self._service, self._upstream, scope, receive, self._request_id(Request(scope)))
        passing = asyncio.create_task(exchange.run(send))
        gone = asyncio.create_task(exchange.until_gone())
        try:
            await asyncio.wait((passing, gone), return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            passing.cancel()
            gone.cancel()
            await asyncio.gather(passing, gone, return_exceptions=True)
            self._in_progress.dec()
            self._duration.observe(time.perf_counter() - started)
            self._requests.labels(self._service.name, "", str(exchange.status)).inc()


class _Gone(Exception):
    """The caller has gone in the middle of the body."""


class _Body(httpx2.AsyncByteStream):
    """A request's body as it comes.

    Args:
        ended: is set at its end.
        moved: called at every chunk.
    """

    def __init__(self, receive: Receive, ended: asyncio.Event, moved: Callable[[], None]) -> None:
        self._receive = receive
        self._ended = ended
        self._moved = moved

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            more = message.get("more_body", False)
            self._moved()
            if body := message.get("body", b""):
                yield body
        self._ended.set()


class _Exchange:
    """One request and its answer.

    Attributes:
        status: of the answer; 499 where the caller went before there was one.
    """

    def __init__(
        self, service: ServiceSpec, upstream: Upstream, scope: Scope, receive: Receive, request_id: str
    ) -> None:
        self.status = 499
        self._service = service
        self._upstream = upstream
        self._scope = scope
        self._receive = receive
        self._request_id = request_id
        self._body_read = asyncio.Event()

    async def until_gone(self) -> None:
        """Returns when the caller has gone, once its body is read."""
        await self._body_read.wait()
        await until_gone(self._receive)

    async def run(self, send: Send) -> None:
        """Asks the process and passes its answer on; returns before the end where either side has gone."""
        with contextlib.suppress(_Gone):
            async with self._answer() as answer:
                # Of a body that nobody wants any more, only its end is of interest.
                self._body_read.set()
                if isinstance(answer, Reply):
                    await self._send_reply(answer, send)
                else:
                    await self._send_answer(answer, send)

    @contextlib.asynccontextmanager
    async def _answer(self) -> AsyncGenerator[httpx2.Response | Reply, None]:
        name, limit_s = self._service.name, self._service.traffic.timeout_s
        try:
            answer = await self._ask(limit_s)
        except TimeoutError:
            yield problem_of(DeadlineExceeded(f"{name} did not answer within {limit_s:g} seconds"), self._request_id)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            yield problem_of(BackendUnavailable(f"the process of {name} cannot be reached"), self._request_id)
        except httpx2.LocalProtocolError as error:
            detail = f"the request cannot be passed on: {error}"
            yield problem(400, "http", detail, self._request_id)
        except httpx2.HTTPError as error:
            _logger.warning("the process of %s broke off: %s (request %s)", name, error, self._request_id)
            yield problem(502, "bad_gateway", f"the process of {name} broke off without an answer", self._request_id)
        else:
            try:
                yield answer
            finally:
                await answer.aclose()

    async def _ask(self, limit_s: float) -> httpx2.Response:
        """The head of the answer."""
        headers = Request(self._scope).headers
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        loop = asyncio.get_running_loop()
        fresh = False

        async def trace(event: str, _: object) -> None:
            nonlocal fresh
            fresh = fresh or event == "connection.connect_tcp.started"

        async with asyncio.timeout(limit_s) as timer:
            stream: httpx2.AsyncByteStream
            if has_body:
                stream = _Body(self._receive, self._body_read, lambda: timer.reschedule(loop.time() + limit_s))
            else:
                stream = httpx2.ByteStream(b"")
                self._body_read.set()
            request = httpx2.Request(
                self._scope["method"],
                self._upstream.url,
                headers=self._request_headers(),
                stream=stream,
                extensions={"target": self._target(), "timeout": {"connect": _CONNECT_S}, "trace": trace},
            )
            try:
                return await self._upstream.transport.handle_async_request(request)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                # A kept connection may be closed by the process at the moment that we use it.
                if fresh or has_body or self._scope["method"] not in _SAFE:
                    raise
                return await self._upstream.transport.handle_async_request(request)

    def _target(self) -> bytes:
        """Path and query, in the caller's own spelling."""
        scope, prefix = self._scope, self._service.path_prefix.encode()
        raw: bytes = scope.get("raw_path") or b""
        path = raw[len(prefix) :] if raw.startswith(prefix + b"/") else quote(route_of(scope)).encode()
        return path + b"?" + scope["query_string"] if scope["query_string"] else path

    def _request_headers(self) -> Headers:
        given: Headers = self._scope["headers"]
        headers = [(name, value) for name, value in end_to_end(given) if name.lower() not in _NOT_SENT]
        known = Request(self._scope).headers
        if "transfer-encoding" in known:
            # Its length, if there is one beside it, is a lie.
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
            headers.append((b"transfer-encoding", b"chunked"))
        client = (self._scope.get("client") or ("",))[0]
        way = [part.strip() for line in known.getlist("x-forwarded-for") for part in line.split(",") if part.strip()]
        if client and way[-1:] != [client]:
            way.append(client)
        added: Mapping[str, str] = {
            "x-forwarded-for": ", ".join(way),
            "x-forwarded-host": known.get("host", ""),
            "x-forwarded-proto": self._scope["scheme"],
            "x-forwarded-prefix": self._service.path_prefix,
            "x-request-id": self._request_id,
        }
        if "host" not in known:  # HTTP/1.0
            headers.insert(0, (b"host", self._upstream.url.netloc))
        return headers + [(name.encode(), value.encode("latin-1", "replace")) for name, value in added.items() if value]

    async def _send_reply(self, reply: Reply, send: Send) -> None:
        self.status = reply.status
        headers = {**reply.headers, "content-type": reply.media_type or "", "x-request-id": self._request_id}
        await Response(reply.body, reply.status, headers=headers)(self._scope, self._receive, send)

    async def _send_answer(self, answer: httpx2.Response, send: Send) -> None:
        self.status = answer.status_code
        # The server writes a date of its own, and counts the body by a length: there is none with these.
        dropped = {b"date"} | ({b"content-length"} if answer.status_code in (204, 304) else set())
        headers = [
            (name.lower(), value) for name, value in end_to_end(answer.headers.raw) if name.lower() not in dropped
        ]
        if "x-request-id" not in answer.headers:
            headers.append((b"x-request-id", self._request_id.encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        try:
            async for chunk in answer.stream:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except httpx2.HTTPError as error:
            # Returning before the last message makes the server close the connection, so that the caller can tell.
            _logger.warning(
                "the process of %s broke off in an answer: %s (request %s)", self._service.name, error, self._request_id
            )
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def end_to_end(headers: Headers) -> Headers:
    """The headers that are not for one connection alone."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == b"connection" for word in value.split(b",")
    }
    named |= _HOP_BY_HOP
    return [(name, value) for name, value in headers if name.lower() not in named]
