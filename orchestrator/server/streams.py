"""Streams: each chunk of a method's as bytes of a body, and the body as it is made.

A caller who names `text/event-stream` in `Accept` gets server-sent events. Others get text and bytes as they are, anything
else as one line of JSON a chunk; an error in the middle of those can only be told by breaking the connection.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.codec import codec_of
from orchestrator.codec.media import UNKNOWN, concrete
from orchestrator.server.attendance import until_gone
from orchestrator.server.media import names
from orchestrator.server.reply import Pairs, Reply, StreamReply
from orchestrator.server.results import TEXT
from orchestrator.spec import ValueKind, ValueSpec

__all__ = [
    "EVENTS",
    "LINES",
    "Framing",
    "StreamBroken",
    "StreamResponse",
    "framing_of",
    "raw_headers",
    "stream_type",
]

EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
_LINE_ENDS: Final = re.compile(r"\r\n|\r|\n")


class StreamBroken(Exception):
    """The body cannot be ended properly: what was sent so far is not all."""


class Framing(Protocol):
    """How chunks stand in a body."""

    media_type: str

    def chunk(self, plain: Any) -> bytes: ...

    def failure(self, problem: Reply) -> bytes | None:
        """How the body says that there is an error; None where it cannot."""
        ...


def stream_type(value: ValueSpec) -> str:
    """The media type of a stream of such chunks, for callers who do not ask for events."""
    return concrete(value.media_types) or {ValueKind.TEXT: TEXT, ValueKind.BLOB: UNKNOWN}.get(value.kind, LINES)


def framing_of(value: ValueSpec, accept: str, media_type: str | None) -> Framing:
    """The framing of one answer.

    Args:
        value: what one chunk is.
        media_type: what the method says that its chunks make up, None where it does not: a method that says
            `text/event-stream` makes the events itself.
    """
    plain = stream_type(value)
    if names(accept, EVENTS) and EVENTS not in (media_type or plain):
        return _Events(value)
    return _Verbatim(value, plain) if value.kind in (ValueKind.TEXT, ValueKind.BLOB) else _Lines(value, plain)


class _Verbatim:
    def __init__(self, value: ValueSpec, media_type: str) -> None:
        self._is_text = value.kind is ValueKind.TEXT
        self.media_type = media_type

    def chunk(self, plain: Any) -> bytes:
        return str(plain).encode() if self._is_text else bytes(plain.content)

    def failure(self, problem: Reply) -> bytes | None:
        return None


class _Lines:
    def __init__(self, value: ValueSpec, media_type: str) -> None:
        self._value = value
        self._codec = codec_of(value.kind)
        self.media_type = media_type

    def chunk(self, plain: Any) -> bytes:
        return (b"null" if plain is None else self._codec.to_json(self._value, plain)) + b"\n"

    def failure(self, problem: Reply) -> bytes | None:
        return None


class _Events:
    """Server-sent events, by the HTML standard."""

    media_type = EVENTS

    def __init__(self, value: ValueSpec) -> None:
        self._value = value
        self._codec = codec_of(value.kind)

    def chunk(self, plain: Any) -> bytes:
        if self._value.kind is ValueKind.TEXT:
            return _event(str(plain))
        return _event("null" if plain is None else self._codec.to_json(self._value, plain).decode())

    def failure(self, problem: Reply) -> bytes | None:
        return b"event: error\n" + _event(problem.body.decode())


def _event(text: str) -> bytes:
    return "".join(f"data: {line}\n" for line in _LINE_ENDS.split(text)).encode() + b"\n"


class StreamResponse(Response):
    """Sends a stream's chunks as they come, until its end or until the caller has gone.

    Args:
        headers: all of them, in order.
        done: called at the end, however it comes.
    """

    def __init__(self, reply: StreamReply, headers: Pairs, done: Callable[[], None]) -> None:
        self.status_code = reply.status
        self.background = None
        self.raw_headers = raw_headers(headers)
        self._reply = reply
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except StreamBroken:
            # Returning before the last message makes the server close the connection, so that the caller can tell.
            return
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            await self._reply.aclose()
            self._done()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._reply.chunks:
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def raw_headers(headers: Pairs) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them; text beyond Latin-1 goes as UTF-8."""

    def raw(text: str) -> bytes:
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            return text.encode(errors="replace")

    return [(raw(name.lower()), raw(value)) for name, value in headers]
