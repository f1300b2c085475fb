"""HTTP to one other server, for the calls that a service makes: what they inherit, and a client for each event loop."""

import asyncio
import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from orchestrator.client.endpoints import SCHEMA_PATH
from orchestrator.client.exchange import Exchange
from orchestrator.client.naming import READY_PATH
from orchestrator.client.reading import Reading
from orchestrator.client.wire import WireRequest, error_of
from orchestrator.errors import (
    BackendUnavailable,
    CallError,
    DeadlineExceeded,
    OutputMismatch,
    RequestFailed,
    ServiceFault,
)
from orchestrator.sdk.context import RunningCall
from orchestrator.sdk.outgoing import outgoing
from orchestrator.spec import TIMEOUT_HEADER

__all__ = ["Connection"]

_CONNECT_S: Final = 2.0
_READY_S: Final = 1.0
_PATIENCE_S: Final = 60.0
"""Of a call that inherits no deadline. The server has a time limit of its own, which comes first as a rule."""
_IDLE_S: Final = 2.0
"""How long a connection is kept: uvicorn closes its own after 5 s, and a call that meets this is lost."""
_TIMER_S: Final = 0.05
_SOCKET: Final = (
    # A stream may be silent for any time; a machine that is switched off must be noticed all the same.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_REQUEST_ID: Final = "x-request-id"


class Connection:
    """The way to one server. Nothing is sent before the first call; a server that was away is found again.

    Args:
        url: of the server.
        as_raised: an error that the service's code raised, in the class that the caller's code knows.
    """

    def __init__(self, url: str, as_raised: Callable[[RequestFailed], RequestFailed]) -> None:
        self.url = url.rstrip("/")
        self._host = urlsplit(url).netloc.rpartition("@")[2]
        self._as_raised = as_raised
        self._clients: dict[asyncio.AbstractEventLoop, tuple[httpx2.AsyncClient, AsyncGenerator[None, None]]] = {}
        self._lock = threading.Lock()

    async def answer(self, where: str, exchange: Exchange, running: RunningCall | None) -> Any:
        """Makes a call that has one answer.

        Args:
            where: what is called, for errors.
            running: the call that it is made for.

        Raises:
            CallError: of the class that the server meant; `BackendUnavailable` where nothing answers.
        """
        left_s = self._left_s(where, running)
        with outgoing(*self._names(where), running) as step, self._told(where, left_s):
            async with asyncio.timeout(left_s or _PATIENCE_S):
                reply = await self._send(exchange.request, step, left_s, stream=False)
            return exchange.result(reply.headers, reply.content)

    def chunks(self, where: str, exchange: Exchange, running: RunningCall | None) -> AsyncGenerator[Any, None]:
        """Makes a call that is a stream; closing the generator ends it on the server, too.

        Raises:
            CallError: as `answer`.
        """
        return Reading(lambda put: self._read(where, exchange, running, put))

    async def _read(
        self, where: str, exchange: Exchange, running: RunningCall | None, put: Callable[[Any], Awaitable[None]]
    ) -> None:
        left_s = self._left_s(where, running)
        now = asyncio.get_running_loop().time()
        with outgoing(*self._names(where), running) as step, self._told(where, left_s):
            async with asyncio.timeout_at(now + (left_s or _PATIENCE_S)):
                reply = await self._send(exchange.request, step, left_s, stream=True)
            try:
                async with (
                    asyncio.timeout_at(None if left_s is None else now + left_s),
                    contextlib.aclosing(reply.aiter_bytes()) as pieces,
                ):
                    chunks = exchange.chunks(reply.headers)
                    async for piece in pieces:
                        for chunk in chunks.feed(piece):
                            await put(chunk)
                    for chunk in chunks.end():
                        await put(chunk)
            finally:
                await reply.aclose()

    async def schema(self, running: RunningCall | None) -> bytes:
        """The document that tells which APIs the server has.

        Raises:
            CallError: as `answer`; `ServiceFault` where the server has no such document.
        """
        where = f"{self.url}{SCHEMA_PATH}"
        left_s = self._left_s(where, running)
        with self._told(where, left_s):
            async with asyncio.timeout(left_s or _PATIENCE_S):
                client = await self._client()
                reply = await client.get(SCHEMA_PATH, timeout=_timeout(left_s))
        if reply.status_code == 404:
            raise ServiceFault(f"{where} is not there: this is no server of services")
        if reply.status_code >= 400:
            raise error_of(reply.status_code, reply.headers, reply.content)
        return reply.content

    async def ready(self) -> bool:
        """Whether the server can answer now; it has a second to say so."""
        with contextlib.suppress(httpx2.RequestError, TimeoutError):
            async with asyncio.timeout(_READY_S):
                client = await self._client()
                return (await client.get(READY_PATH, timeout=_READY_S)).status_code == 200
        return False

    async def _send(
        self, request: WireRequest, running: RunningCall | None, left_s: float | None, *, stream: bool
    ) -> httpx2.Response:
        client = await self._client()
        built = client.build_request(
            request.method,
            request.path,
            headers={**request.headers, **_inherited(running)},
            content=request.body,
            timeout=_timeout(left_s, stream=stream),
        )
        reply = await client.send(built, stream=stream)
        if reply.status_code < 400:
            return reply
        try:
            error = error_of(reply.status_code, reply.headers, await reply.aread())
        finally:
            await reply.aclose()
        if reply.status_code < 500 and type(error) is ServiceFault:  # another server's own, such as 403
            raise RequestFailed(error.message, status=reply.status_code)
        raise error

    async def _client(self) -> httpx2.AsyncClient:
        """The client of this loop: one of another, or of one that has ended, cannot be used."""
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is not None and not found[0].is_closed:
            return found[0]
        transport = await asyncio.to_thread(_transport)
        found = self._clients.get(loop)
        if found is not None and not found[0].is_closed:  # meanwhile another call has made it
            return found[0]
        # No environment: its proxy is not for one's own machines.
        client = httpx2.AsyncClient(base_url=self.url, follow_redirects=True, trust_env=False, transport=transport)
        keeper = _closed_with_loop(client)
        with self._lock:
            for ended in [each for each in self._clients if each.is_closed()]:
                del self._clients[ended]
            self._clients[loop] = client, keeper
        await anext(keeper)
        return client

    def _left_s(self, where: str, running: RunningCall | None) -> float | None:
        """Seconds until the deadline of the call that this one is made for; None without one.

        Raises:
            DeadlineExceeded: there are none.
        """
        if running is None or running.deadline is None:
            return None
        left_s = running.deadline - time.time()
        if left_s <= 0:
            raise DeadlineExceeded(f"{where} was not called: the deadline has passed")
        return left_s

    def _names(self, where: str) -> tuple[str, str]:
        """Who is called, without what its address may keep secret, and which API: of `Service.api`, or of `URL/api`."""
        if where.startswith(self.url):
            return self._host, where.removeprefix(self.url).lstrip("/")
        service, _, api = where.rpartition(".")
        return service, api

    @contextlib.contextmanager
    def _told(self, where: str, left_s: float | None) -> Iterator[None]:
        """Raises whatever goes wrong in its block as one of our errors."""
        at = where if where.startswith(self.url) else f"{where} at {self.url}"
        try:
            yield
        except RequestFailed as error:
            raise self._as_raised(error) from None
        except CallError as error:
            if isinstance(error, BackendUnavailable) and self.url not in error.message:
                error.message = f"{at}: {error.message}"
            raise
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise BackendUnavailable(f"{at}: nothing answers ({_said(error)})") from error
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise DeadlineExceeded(f"{at} did not answer in {left_s or _PATIENCE_S:.3g} seconds") from error
        except httpx2.TransportError as error:
            raise BackendUnavailable(f"{at}: the connection broke ({_said(error)})") from error
        except httpx2.RequestError as error:
            raise ServiceFault(f"{at}: this is not HTTP as it should be ({_said(error)})") from error
        except ValueError as error:
            raise OutputMismatch(f"{at} answered what cannot be read: {error}") from error


async def _closed_with_loop(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    """Closes a client when its loop ends: whoever ends a loop ends its generators first (`asyncio.run`, uvicorn)."""
    try:
        yield
    finally:
        await client.aclose()


def _inherited(running: RunningCall | None) -> Mapping[str, str]:
    """The headers of a call that is made for another one. The time is what is left of it now."""
    if running is None:
        return {}
    headers = dict(running.trace)
    if running.request_id.isascii() and running.request_id.isprintable() and running.request_id:
        headers[_REQUEST_ID] = running.request_id
    if running.deadline is not None:
        headers[TIMEOUT_HEADER] = f"{max(running.deadline - time.time(), 1e-3):.6f}"
    return headers


def _timeout(left_s: float | None, *, stream: bool = False) -> httpx2.Timeout:
    """httpx's limits are for each read; the deadline itself is watched by `asyncio.timeout`, which comes first."""
    most_s = None if stream else (left_s or _PATIENCE_S) + _TIMER_S
    return httpx2.Timeout(most_s, connect=min(_CONNECT_S, left_s or _CONNECT_S))


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _transport() -> httpx2.AsyncHTTPTransport:
    """Takes a tenth of a second when it is the first: it is not for an event loop."""
    return httpx2.AsyncHTTPTransport(
        verify=_certificates(),
        trust_env=False,
        # How many calls there are at once is for the callers to say, and for the server.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_IDLE_S),
        socket_options=_SOCKET,
    )


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)
