"""What one connection may cost: the size of a head, the time that a client takes to send, and how many are open.

uvicorn's own protocol has none of these limits. Nothing here looks at a clock while requests come: once a second all
connections are looked at, and those that have not got on for too long are ended.
"""

import asyncio
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from orchestrator.server.problems import problem
from orchestrator.server.reply import Reply
from orchestrator.spec.config import Http

__all__ = ["Connections", "LimitedProtocol", "Limits", "limits_of", "set_limits"]

_TICK_S: Final = 1.0
_AT_A_TIME: Final = 1000
"""Connections that are looked at before requests have their turn again."""
_SLOWEST_BYTES_PER_S: Final = 1024
_LINGER_S: Final = 1.0
"""For a client that is still sending, to read what it is answered."""
_SPARE: Final = 256
"""Connections above the limit that hear why they are refused."""

_DEFAULT: Final = Http()


@dataclass(frozen=True, slots=True)
class Limits:
    """What an application has its server keep to.

    Attributes:
        http: the limits.
        refused: counts an answer that the application knows nothing of, by status.
    """

    http: Http = _DEFAULT
    refused: Callable[[int], None] = lambda _: None


def set_limits(app: FastAPI, limits: Limits) -> None:
    """Says what connections to an application may cost; whoever serves it goes by it."""
    app.state.limits = limits


def limits_of(app: object) -> Limits:
    """What was said for an application."""
    limits = getattr(app.state, "limits", None) if isinstance(app, FastAPI) else None
    return limits if isinstance(limits, Limits) else Limits()


class Connections:
    """The open connections of one server.

    Args:
        limits: of each of them.
        most: open at once.
    """

    def __init__(self, limits: Limits, most: int) -> None:
        self.limits = limits.http
        self.refused = limits.refused
        self.most = most
        self._idle: list[LimitedProtocol] = []
        self._none_is_idle = False

    def limit(self, config: uvicorn.Config) -> None:
        """Has a server, which has not started, keep to it."""
        config.http = partial(LimitedProtocol, limited=self)  # type: ignore[assignment]  # it is only called
        config.timeout_keep_alive = self.limits.keep_alive_timeout_s  # type: ignore[assignment]  # a float does

    async def watch(self, state: uvicorn.server.ServerState) -> None:
        """Ends connections that take too long; runs until it is cancelled."""
        limits = self.limits
        tick_s = min(_TICK_S, limits.header_timeout_s / 4, (limits.body_timeout_s or math.inf) / 4)
        while True:
            await asyncio.sleep(tick_s)
            self._idle.clear()
            self._none_is_idle = False
            for number, each in enumerate(tuple(state.connections)):
                if isinstance(each, LimitedProtocol):  # and no WebSocket
                    # Not the time that has passed: where we have been slow, what was sent in time waits in the kernel.
                    each.look(tick_s)
                if number % _AT_A_TIME == _AT_A_TIME - 1:
                    await asyncio.sleep(0)

    def make_room(self, newcomer: "LimitedProtocol") -> bool:
        """Closes a connection that nobody misses, for one that has come above the limit.

        Returns:
            Whether there was one.
        """
        while True:
            while self._idle:
                if self._idle[-1].idle:
                    self._idle.pop().end()
                    return True
                self._idle.pop()
            if self._none_is_idle:
                return False
            self._idle = [
                each
                for each in newcomer.connections
                if isinstance(each, LimitedProtocol) and each.idle and each is not newcomer
            ]
            self._idle.sort(key=lambda each: each.waited_s)
            self._none_is_idle = not self._idle


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with limits.

    Args:
        limited: all of them.

    Attributes:
        waited_s: how long a head, or a body, has been waited for.
    """

    def __init__(self, *args: Any, limited: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limited = limited
        self._most_bytes = limited.limits.max_header_bytes
        self._most_headers = limited.limits.max_headers
        self._ended = False
        self._head_open = False
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._body_bytes = 0
        # What the last look has seen.
        self._phase: tuple[Any, bool] | None = None
        self.waited_s = 0.0
        self._body_began_at = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limited = self._limited
        above = len(self.connections) - limited.most
        if above > 0 and not limited.make_room(self):
            if above > _SPARE:
                self.end()
            else:
                self._refuse(503, "overloaded", "too many connections are open")

    def data_received(self, data: bytes) -> None:
        if self._ended:  # it is read, so that the answer gets through, and thrown away
            return
        self._chunk_bytes = len(data)
        if self._head_open:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_open and self._head_bytes > self._most_bytes:
            if self.idle:
                self._refuse(431, "head_too_large", self._too_large)
            else:  # it came behind a request whose answer is under way
                self.end()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = self._chunk_bytes

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._chunk_bytes = 0  # what else is in it is not of the next head, or not only
        if len(self.headers) <= self._most_headers and (
            self._head_bytes <= self._most_bytes or self._size <= self._most_bytes
        ):
            super().on_headers_complete()
            return
        app = self.app
        self.app = _Refusal(self._refusal(431, "head_too_large", self._too_large))
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    def on_body(self, body: bytes) -> None:
        self._chunk_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    @property
    def idle(self) -> bool:
        """Whether it is open, and in no request that has come to the end of its head."""
        cycle = self.cycle
        return not self._ended and (cycle is None or cycle.response_complete) and not self.transport.is_closing()

    def look(self, passed_s: float) -> None:
        """Ends it where the client takes too long.

        Args:
            passed_s: since the last look.
        """
        cycle = self.cycle
        if self._ended or self.timeout_keep_alive_task is not None:
            self._phase, self.waited_s = None, 0.0
            return
        phase = cycle, cycle is None or cycle.response_complete
        if phase != self._phase:
            self._phase, self.waited_s, self._body_began_at = phase, 0.0, self._body_bytes
            return
        limits = self._limited.limits
        if phase[1]:
            self.waited_s += passed_s
            if self.waited_s >= limits.header_timeout_s:
                if self._head_open:
                    self._refuse(408, "too_slow", f"the headers took longer than {limits.header_timeout_s:g} seconds")
                else:  # it has sent nothing: there is nothing to answer
                    self.end()
        elif limits.body_timeout_s is not None and _is_awaited(cycle) and not self.flow.read_paused:
            self.waited_s += passed_s
            came = self._body_bytes - self._body_began_at
            if self.waited_s >= limits.body_timeout_s + came / _SLOWEST_BYTES_PER_S:
                self._refuse(408, "too_slow", "the body comes too slowly")
                cycle.disconnected = True
                cycle.message_event.set()

    def end(self) -> None:
        """Closes it without a word."""
        self._ended = True
        self.transport.abort()

    @property
    def _size(self) -> int:
        """Bytes of the head, without what separates its parts."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    @property
    def _too_large(self) -> str:
        return f"the headers are over the limit of {self._most_bytes} bytes or {self._most_headers} lines"

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answers past the application, and closes once the client has had the time to read it."""
        self._ended = True
        self.transport.write(_raw(self._refusal(status, code, detail)))
        if self.transport.can_write_eof():  # TLS cannot
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)

    def _refusal(self, status: int, code: str, detail: str) -> Reply:
        self._limited.refused(status)
        headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return problem(status, code, detail, uuid.uuid4().hex, headers=headers)


class _Refusal:
    """An application that answers everything with one problem."""

    def __init__(self, reply: Reply) -> None:
        headers = {**reply.headers, "Content-Type": str(reply.media_type), "Connection": "close"}
        self._response = Response(reply.body, reply.status, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope, receive, send)


def _is_awaited(cycle: RequestResponseCycle) -> bool:
    """Whether all that is missing for an answer is a body, which the client has been told to send."""
    return cycle.more_body and not cycle.response_started and not cycle.waiting_for_100_continue


def _raw(reply: Reply) -> bytes:
    """An answer as HTTP has it, after which the connection is closed."""
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"content-type: {reply.media_type}",
        f"content-length: {len(reply.body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + reply.body
