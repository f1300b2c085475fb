"""One HTTP/1.1 connection, with one exchange on it at a time."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import grpc
import httptools
import numpy as np

from orchestrator.errors import CallError
from orchestrator.triton.faults import from_status

__all__ = ["Answer", "Connection", "Outcome"]

_BUFFER_BYTES: Final = 16 << 10
_LARGE_BYTES: Final = 64 << 10
"""Requests from that size on go piece by piece, answers are read to where they stay; below, one copy is cheaper."""
_ALIGNED_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        body: a read-only view where it is large.
        head_bytes: length of the document in front of the tensors, where there are any.
    """

    status: int
    body: bytes | memoryview
    head_bytes: int | None


Outcome = Answer | CallError
"""Errors are results of futures: an exception that nobody fetches, since its caller has gone, would be logged."""


class Connection(asyncio.BufferedProtocol):
    """An exchange goes on when nobody waits for it any more, and its end is told.

    Args:
        sock: connected, and given to the transport.
        free: called with the connection when its exchange has ended and there may be another one.
        lost: called with it when there can be no other.
    """

    def __init__(
        self, sock: socket.socket, free: Callable[["Connection"], None], lost: Callable[["Connection"], None]
    ) -> None:
        self._sock = sock
        self._free = free
        self._lost = lost
        self._small = memoryview(bytearray(_BUFFER_BYTES))
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Outcome] | None = None
        self._ended: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._keeps = False
        self._length = -1
        self._head_bytes: int | None = None
        self._pieces: list[bytes] = []
        self._large: memoryview | None = None
        self._filled = 0

    # --- for whoever calls

    def send(self, parts: Sequence[bytes | memoryview], waiter: "asyncio.Future[Outcome]") -> None:
        """Begins an exchange.

        Args:
            waiter: gets the outcome, unless it is done by then.
        """
        assert self._transport is not None
        self._waiter = waiter
        if sum(map(len, parts)) < _LARGE_BYTES:
            self._transport.write(b"".join(parts))
        else:
            self._transport.writelines(parts)

    def is_alive(self) -> bool:
        """Whether the other side has not hung up, as far as this machine knows: the event loop may hear of it later."""
        if self._transport is None or self._transport.is_closing():
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # the end, or something that nobody asked for

    def ended(self, waiter: "asyncio.Future[Outcome]") -> "asyncio.Future[None] | None":
        """What is done when the exchange of a waiter has ended; None where it has."""
        if self._waiter is not waiter:
            return None
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def release(self, error: CallError) -> "asyncio.Future[None] | None":
        """Lets go who waits.

        Returns:
            What is done when the exchange has ended; None where there is none.
        """
        waiter = self._waiter
        if waiter is None:
            return None
        if not waiter.done():
            waiter.set_result(error)
        return self.ended(waiter)

    def abort(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    # --- for the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, _: int) -> memoryview:
        return self._small if self._large is None else self._large[self._filled :]

    def buffer_updated(self, count: int) -> None:
        if self._large is not None:
            self._filled += count
            if self._filled == len(self._large):
                self._parser = httptools.HttpResponseParser(self)  # the old one waits for the body still
                self._finish(self._large.toreadonly())
            return
        try:
            self._parser.feed_data(self._small[:count])
        except httptools.HttpParserError as error:
            self._lose(f"Triton's answer is no HTTP: {error}")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lose(f"the connection to Triton was lost: {error or 'closed'}")
        self._lost(self)

    # --- for the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"inference-header-content-length":
            self._head_bytes = int(value)

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._keeps = self._parser.should_keep_alive()
        if self._length >= _LARGE_BYTES:
            self._large = _room(self._length, self._head_bytes or 0)

    def on_body(self, piece: bytes) -> None:
        if self._large is None:
            self._pieces.append(piece)
        else:
            self._large[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)

    def on_message_complete(self) -> None:
        if self._large is not None:
            self._finish(self._large.toreadonly())
        else:
            self._finish(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))

    def _finish(self, body: bytes | memoryview) -> None:
        answer, keeps, asked = Answer(self._status, body, self._head_bytes), self._keeps, self._waiter is not None
        self._begin()
        self._end(answer)
        # An answer to a request that has not been sent whole: the rest would be taken for the next one.
        if keeps and asked and self._transport is not None and not self._transport.get_write_buffer_size():
            self._free(self)
        else:
            self.abort()

    def _lose(self, reason: str) -> None:
        if self._waiter is not None:
            self._end(from_status(grpc.StatusCode.UNAVAILABLE, reason))

    def _end(self, outcome: Outcome) -> None:
        waiter, ended = self._waiter, self._ended
        self._waiter = self._ended = None
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)
        if ended is not None and not ended.done():
            ended.set_result(None)


def _room(length: int, head_bytes: int) -> memoryview:
    """Memory for a body, so that its first tensor lies aligned."""
    memory = np.empty(length + _ALIGNED_BYTES, np.uint8)
    start = -(memory.ctypes.data + head_bytes) % _ALIGNED_BYTES
    return memory.data[start : start + length]
