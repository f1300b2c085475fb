"""A stream that is read in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

__all__ = ["Reading", "Source"]

Put = Callable[[Any], Awaitable[None]]
Source = Callable[[Put], Awaitable[None]]
_AHEAD: Final = 1
"""Chunks that are read before somebody wants them."""
_END: Final = object()


class Reading(AsyncGenerator[Any, None]):
    """The chunks that a source puts.

    Not a generator that reads the connection itself: httpx's own generators stand one in another, and asyncio closes them
    all at once where a loop ends with a stream that is not read to its end. Its tasks asyncio ends before.

    Args:
        source: runs in the task, from the first look for a chunk on. Cancelled where nobody reads any more.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: asyncio.Queue[Any] = asyncio.Queue(_AHEAD)
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        if self._task is None:
            self._task = asyncio.create_task(_read(self._source, self._chunks))
        chunk = await self._chunks.get()
        if isinstance(chunk, _Failure):
            self._ended = True
            raise chunk.error
        if chunk is _END:
            self._ended = True
            raise StopAsyncIteration
        return chunk

    async def asend(self, value: None) -> Any:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> Any:
        await self.aclose()
        raise error[0]

    async def aclose(self) -> None:
        """Ends it, and does not wait for that."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    def __del__(self) -> None:
        if self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # the loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


async def _read(source: Source, chunks: "asyncio.Queue[Any]") -> None:
    end: Any = _END
    try:
        await source(chunks.put)
    except Exception as error:  # noqa: BLE001  # whoever reads gets it
        end = _Failure(error)
    await chunks.put(end)
