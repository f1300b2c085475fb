"""What a route answers, before it is HTTP."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Pairs", "Reply", "StreamReply"]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer.

    Attributes:
        media_type: "" where the answer has no body.
        headers: the server's own.
        added: the method's own, any of them more than once.
    """

    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    added: Pairs = ()


@dataclass(frozen=True, slots=True)
class StreamReply:
    """An answer that is still being made; its first chunk is there.

    Attributes:
        chunks: of the body, in order. It raises `StreamBroken` where the answer cannot be ended properly.
        source: what the chunks are made from; to be closed, too, since nobody may have asked for the first chunk.
        ended: to be called once both are closed.
        added: as in `Reply`.
    """

    status: int
    chunks: AsyncGenerator[bytes, None]
    source: AsyncGenerator[Any, None]
    ended: Callable[[], None]
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    added: Pairs = ()

    async def aclose(self) -> None:
        """Ends the method that makes the chunks. To be called once."""
        try:
            await self.chunks.aclose()
            await self.source.aclose()
        finally:
            self.ended()
