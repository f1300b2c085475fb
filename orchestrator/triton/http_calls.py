"""Inferences over HTTP/1.1: half of what gRPC takes of this process's time, and a third for large tensors.

Triton never notices that an HTTP caller has gone. So only calls on the cancel board go this way, which the worker reads
by itself. What their callers leave is read to its end unseen, as `calls.py` does it with gRPC.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import grpc

from orchestrator.engine.backend import InferRequest, InferResponse, RunsOn
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded
from orchestrator.triton.faults import from_status
from orchestrator.triton.http_connection import Answer, Connection, Outcome
from orchestrator.triton.http_messages import encode_request, error_of_answer, parse_response

__all__ = ["HttpCalls"]

_CONNECT_S: Final = 2.0
_CLOSE_S: Final = 1.0
_KEPT: Final = 4
_MOST: Final = 256
"""Calls at once, each on a connection of its own: Triton may have no more than 1024 files, and other front-ends."""
_IDLE_S: Final = 10.0
"""Connections that were idle for so long are closed, down to `_KEPT`."""
_CLOSED: Final = "the connection to Triton was closed during the call"


class HttpCalls:
    """Calls over as many connections as there are calls at once, the last used one first. For one event loop.

    Args:
        http_url: of a Triton on this machine, as `http://127.0.0.1:8000`.
    """

    def __init__(self, http_url: str) -> None:
        parts = urlsplit(http_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._host = parts.netloc
        self._hello = f"GET /v2/health/live HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._trimming: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Whether one more call is better sent here than by gRPC, which needs one connection for all."""
        return len(self._busy) < _MOST

    async def infer(self, request: InferRequest, number: int) -> InferResponse:
        """Runs a model that gives one answer; who leaves is released at once, and the call runs on.

        Args:
            request: of a model that `has_path`.
            number: the call's on the cancel board.

        Raises:
            CallError: see `Backend`.
        """
        parts = encode_request(request, number, self._host)
        answer = await self._exchange(parts, request.timeout_s, request.runs_on)
        if answer.status != 200:
            error = error_of_answer(answer.status, answer.body)
            raise error from error.__cause__
        return parse_response(answer.body, answer.head_bytes)

    async def close(self) -> None:
        """Releases every caller, and waits until what they left has ended, a second at most."""
        self._closed = True
        if self._trimming is not None:
            self._trimming.cancel()
        for connection in self._idle:
            connection.abort()
        releases = [connection.release(BackendUnavailable(_CLOSED)) for connection in self._busy]
        ends = [end for end in releases if end is not None]
        if ends:
            await asyncio.wait(ends, timeout=_CLOSE_S)
        for connection in self._busy:
            connection.abort()
        while self._idle or self._busy:  # they leave in the loop's next turns
            await asyncio.sleep(0)

    async def _exchange(
        self, parts: Sequence[bytes | memoryview], timeout_s: float | None, runs_on: RunsOn | None
    ) -> Answer:
        loop = asyncio.get_running_loop()
        connection = self._used()
        if connection is None:
            began = loop.time()
            connection = await self._connected(timeout_s)
            if timeout_s is not None:
                timeout_s -= loop.time() - began
        waiter: asyncio.Future[Outcome] = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, waiter)
        self._busy.add(connection)
        connection.send(parts, waiter)
        try:
            outcome = await waiter
        finally:
            if timer is not None:
                timer.cancel()
            ended = connection.ended(waiter)
            if ended is not None and runs_on is not None:
                runs_on(ended)
                if ended.cancelled():
                    connection.abort()  # nothing will come
        if isinstance(outcome, CallError):
            raise outcome from outcome.__cause__
        return outcome

    def _used(self) -> Connection | None:
        """A connection that is there; None where none is idle."""
        if self._closed:
            raise BackendUnavailable("the connection to Triton is closed")
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive():
                return connection
            connection.abort()
        return None

    async def _connected(self, timeout_s: float | None) -> Connection:
        """A new connection."""
        if timeout_s is not None and timeout_s < _CONNECT_S:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._connected(None)
            except TimeoutError:
                raise _late() from None
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._connect()
                while (connection := self._used()) is None:  # another call was quicker
                    await self._connect()
        except OSError as error:  # a timeout is one
            reason = f"failed to connect to all addresses; last error: {error.strerror or type(error).__name__}"
            unavailable = from_status(grpc.StatusCode.UNAVAILABLE, reason)
            raise unavailable from unavailable.__cause__
        return connection

    async def _connect(self) -> None:
        """Has one more idle connection, which has been answered: the system also connects to a Triton that just dies.

        Raises:
            OSError: there is none.
        """
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, self._address)
            _, connection = await loop.create_connection(lambda: Connection(sock, self._free, self._lost), sock=sock)
        except BaseException:
            sock.close()
            raise
        if not connection.is_alive():
            raise ConnectionResetError("hung up at once")
        waiter: asyncio.Future[Outcome] = loop.create_future()
        self._busy.add(connection)
        connection.send([self._hello], waiter)
        outcome = await waiter
        if self._closed:
            raise BackendUnavailable(_CLOSED)
        if not isinstance(outcome, Answer):
            raise ConnectionResetError(str(outcome.__cause__ or outcome))

    def _free(self, connection: Connection) -> None:
        self._busy.discard(connection)
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._closed:
            connection.abort()
        elif self._trimming is None and len(self._idle) > _KEPT:
            self._trimming = loop.call_later(_IDLE_S, self._trim)

    def _lost(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _trim(self) -> None:
        loop = asyncio.get_running_loop()
        self._trimming = None
        # The last used is the last in the list.
        while len(self._idle) > _KEPT and self._idle[0].idle_since <= loop.time() - _IDLE_S:
            self._idle.pop(0).abort()
        if len(self._idle) > _KEPT:
            self._trimming = loop.call_later(_IDLE_S, self._trim)


def _expire(waiter: "asyncio.Future[Outcome]") -> None:
    if not waiter.done():
        waiter.set_result(_late())


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the model did not answer in time")
