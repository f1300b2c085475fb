"""The way of a stream past Triton: the chunks go from the worker to its caller over a Unix socket.

Triton 24.10 has no sound way for several answers to one BLS request, and its gRPC keeps every answer of a stream in memory
until the stream ends (docs/architecture/04-triton.md). So where the caller is on the same machine Triton carries
the request only: it queues it, finds the worker, and is answered at once that the worker has it. The chunks, the error
and the end go over a socket on which the caller waits and to which the worker connects. It gives for nothing what Triton
does not: a worker that makes more than its caller reads has to wait, and either side sees at once that the other has gone
or died.

The socket has a name of its own for each call and no file (Linux's abstract names), so that nothing is left behind.
"""

import asyncio
import contextlib
import json
import os
import select
import socket
import struct
import time
import uuid
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Self

from numpy.typing import NDArray

from orchestrator.engine.faults import error_of_status
from orchestrator.engine.frames import End, FrameReader, chunk_frame, end_frame
from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    DeadlineExceeded,
    InvalidInput,
    ServiceFault,
)

__all__ = [
    "ANSWERS_PARAMETER",
    "HELD_PARAMETER",
    "Answers",
    "Listener",
    "chunks_of",
    "drained",
    "receive",
    "wait_readable",
]

ANSWERS_PARAMETER: Final = "answers_to"
"""Request parameter: name of the socket that the answers go to."""
HELD_PARAMETER: Final = "answers_held"
"""Request parameter: the caller is none of Triton's own workers and can hear from Triton that the call has begun, and again
when it has ended. While Triton knows of it, it replaces no worker that has it, and lets that call others."""
_PREFIX: Final = "orchestrator-answers-"
_READ_BYTES: Final = 256 << 10
_CREDENTIALS: Final = struct.Struct("3i")
"""`struct ucred`: process, user, group."""
_connections: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
"""Of this process."""


class Answers:
    """The worker's end.

    Args:
        connected: to the caller.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        _connections.add(connected)
        self._socket = connected
        self._unsent = memoryview(b"")

    @classmethod
    def to_caller(cls, parameters: Mapping[str, Any]) -> Self | None:
        """Connects to the caller that wants its answers this way; None for any other. It does not wait.

        To be called before Triton is told that the worker has the request.

        Args:
            parameters: the request's.

        Raises:
            CallCancelled: the caller has gone.
            InvalidInput: the parameter names no caller of ours.
        """
        name = parameters.get(ANSWERS_PARAMETER)
        if name is None:
            return None
        if not isinstance(name, str) or not name.startswith(_PREFIX):
            raise InvalidInput(f"the request parameter {ANSWERS_PARAMETER!r} is for calls between workers")
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.setblocking(False)
            connected.connect(f"\0{name}")
        except OSError as error:
            connected.close()
            raise CallCancelled("the caller has gone") from error
        if not _is_ours(connected):
            connected.close()
            raise InvalidInput(f"the request parameter {ANSWERS_PARAMETER!r} is for calls between workers")
        return cls(connected)

    @classmethod
    def to_caller_of(cls, request: Any) -> Self | None:
        """The same for a request as Triton hands it over."""
        text = request.parameters()
        return cls.to_caller(json.loads(text)) if text and ANSWERS_PARAMETER in text else None

    async def send(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Sends a chunk; returns once there is room for more: the caller has read what is beyond some 200 kB.

        Raises:
            CallCancelled: the caller has gone.
        """
        try:
            await self._send(chunk_frame(tensors))
        except OSError as error:
            raise CallCancelled("the caller has gone") from error

    async def end(self, error: str | None = None, *, within_s: float | None = None) -> None:
        """Ends the stream, also for a caller who has gone.

        Args:
            error: of the worker's, in the text that Triton would carry (`engine/faults.py`).
            within_s: how long to wait for a caller who does not read; None for as long as that takes.
        """
        try:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(within_s):
                    await self._send(end_frame(error))
        finally:
            self.close()

    async def _send(self, frame: bytes) -> None:
        # Where a send was cancelled a part of its frame has gone: without the rest nobody could read what follows.
        self._unsent = memoryview(b"".join((self._unsent, frame)) if self._unsent else frame)
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                await self._has_room()

    async def _has_room(self) -> None:
        loop = asyncio.get_running_loop()
        room = loop.create_future()
        loop.add_writer(self._socket, _set, room)
        try:
            await room
        finally:
            loop.remove_writer(self._socket)

    def gone(self) -> bool:
        """Whether the caller has gone. From any thread."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Ends the stream without a word, as a worker that dies does."""
        self._socket.close()


class Listener:
    """The caller's end, until the worker has connected."""

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(f"\0{self.name}")
            self._socket.listen(1)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def accept(self) -> socket.socket:
        """The connection to the worker, which does not block. The worker has made it before it answered to Triton.

        Raises:
            ServiceFault: it has made none: the model is no service of ours.
        """
        try:
            connected, _ = self._socket.accept()
        except BlockingIOError:
            raise ServiceFault(
                "the model streams its answers in a way that cannot be called from inside Triton"
            ) from None
        connected.setblocking(False)
        if not _is_ours(connected):
            connected.close()
            raise ServiceFault("a process of another user has answered the call")
        _connections.add(connected)
        return connected

    def close(self) -> None:
        """Whoever would connect now finds nobody."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def chunks_of(received: Callable[[], Awaitable[bytes]]) -> AsyncGenerator[dict[str, NDArray[Any]], None]:
    """The chunks of a stream.

    Args:
        received: waits for more of it; nothing where its worker has died.

    Raises:
        BackendUnavailable: its worker has died.
        CallError: what its worker says.
    """
    frames = FrameReader()
    while True:
        frame = frames.next()
        if frame is None:
            data = await received()
            if not data:
                raise BackendUnavailable("the model's worker process has died")
            frames.feed(data)
        elif isinstance(frame, End):
            if frame.error is not None:
                raise error_of_status("UNKNOWN", frame.error)
            return
        else:
            yield frame


async def receive(connected: socket.socket, end: float | None) -> bytes:
    """Waits for more of a stream, on an event loop; nothing where its worker has died.

    Args:
        end: of the caller's time, on the machine's monotonic clock.

    Raises:
        DeadlineExceeded: that is over.
    """
    left_s = None if end is None else end - time.monotonic()
    if left_s is not None and left_s <= 0:  # what has arrived already does not wait
        raise DeadlineExceeded("the model did not answer in time")
    reading = asyncio.get_running_loop().sock_recv(connected, _READ_BYTES)
    try:
        if left_s is None:
            return await reading
        async with asyncio.timeout(left_s):
            return await reading
    except TimeoutError:
        raise DeadlineExceeded("the model did not answer in time") from None
    except OSError:
        return b""


async def drained(connected: socket.socket) -> None:
    """Ends a stream that nobody reads any more, and returns when its worker has ended it, too."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(connected), contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_WR)
        # It waits for room else, and would not see that nobody reads.
        while await loop.sock_recv(connected, _READ_BYTES):
            pass


def wait_readable(connected: socket.socket, timeout_s: float | None) -> bool:
    """Waits in place until there is something to read, or the end; whether it came in time."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0.0, timeout_s * 1000)))


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _leave_to_parent() -> None:
    """A child of the user's, made by fork, holds a copy of each connection: while it lives nobody would see our end."""
    for connected in list(_connections):
        connected.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def _is_ours(connected: socket.socket) -> bool:
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())
