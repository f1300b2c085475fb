"""One call of an API as what is sent and how the answer is read, whoever carries it. Sans I/O."""

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from orchestrator.client.results import essence
from orchestrator.client.wire import WireRequest, error_of

__all__ = ["EVENTS", "Chunks", "EventChunks", "Exchange", "is_events"]

EVENTS: Final = "text/event-stream"


class Chunks(Protocol):
    """Reads the body of a stream."""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The chunks that are complete with this piece."""
        ...

    def end(self) -> Iterator[Any]:
        """The chunk that only the end completes, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call.

    Attributes:
        result: headers (names in lower case) and body of an answer -> the result; raises ValueError where it is none.
        chunks: headers -> what reads a stream.
    """

    request: WireRequest
    result: Callable[[Mapping[str, str], bytes], Any]
    chunks: Callable[[Mapping[str, str]], Chunks]


def is_events(headers: Mapping[str, str]) -> bool:
    """Whether a stream comes as server-sent events, as it was asked to.

    BentoML calls all of its streams that, whatever is in them; it does not go by `Accept`, and so does not say `Vary`.
    """
    varies = {name.strip().lower() for name in headers.get("vary", "").split(",")}
    return essence(headers.get("content-type", "")) == EVENTS and "accept" in varies


class EventChunks:
    """Server-sent events: one a chunk, so that chunks keep their borders, and an error in the middle its class.

    Args:
        read: data of an event -> the chunk.
    """

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """See `Chunks`.

        Raises:
            CallError: the server says that the stream has failed.
        """
        *whole, self._rest = (self._rest + self._text.decode(piece)).split("\n\n")
        return (self._chunk(event) for event in whole)

    def end(self) -> Iterator[Any]:
        """Nothing: an event that the end cuts off is none, by the standard."""
        return iter(())

    def _chunk(self, event: str) -> Any:
        kind, data = "message", []
        for line in event.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                kind = value
            elif field == "data":
                data.append(value)
        text = "\n".join(data)
        if kind == "error":
            problem = orjson.loads(text)
            raise error_of(int(problem.get("status", 500)), {}, text.encode())
        return self._read(text)
