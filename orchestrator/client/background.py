"""An event loop in a thread of its own, for code that blocks: one HTTP client serves all threads, and calls can be cancelled."""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

from orchestrator.errors import CallCancelled
from orchestrator.sdk.context import running_call

__all__ = ["BlockedStream", "blocked"]

T = TypeVar("T")
_LOOK_S: Final = 0.1
"""How often a thread that waits looks whether somebody still waits for itself."""
_END_S: Final = 2.0
_END: Final = object()


def blocked(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the loop of this process, in the caller's context, and blocks until it has ended.

    It is cancelled once nobody waits any more for the call that this thread works for.

    Raises:
        CallCancelled: the caller of that call has gone, or the process ends.
        DeadlineExceeded: its deadline has passed.
    """
    running = running_call.get()
    outcome = asyncio.run_coroutine_threadsafe(coroutine, _background())
    try:
        while not wait((outcome,), _LOOK_S).done:
            ended = running.end() if running is not None else None
            if ended is not None:
                raise ended
        return outcome.result()
    except CancelledError:
        raise CallCancelled("the process ends") from None
    finally:
        outcome.cancel()


class BlockedStream:
    """An async generator for code that blocks. One that is forgotten is closed by the loop."""

    def __init__(self, chunks: AsyncGenerator[Any, None]) -> None:
        self._chunks = chunks
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        chunk = _END if self._ended else blocked(_next(self._chunks))
        if chunk is _END:
            self._ended = True
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Ends it."""
        if not self._ended:
            self._ended = True
            blocked(_close(self._chunks))


async def _next(chunks: AsyncGenerator[Any, None]) -> Any:
    return await anext(chunks, _END)


async def _close(chunks: AsyncGenerator[Any, None]) -> None:
    await chunks.aclose()


class _Background:
    """The loop, in its thread.

    Attributes:
        pid: of the process whose thread it is: a fork has the loop, and no thread.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="orchestrator-client", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends what runs on the loop, and the clients that were made on it."""
        if os.getpid() != self.pid:
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_tasks(self.loop), self.loop).result(_END_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            self.loop.close()


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()


_lock = threading.Lock()
_running: _Background | None = None


def _background() -> asyncio.AbstractEventLoop:
    global _running
    with _lock:
        if _running is None or _running.pid != os.getpid():
            _running = _Background()
        return _running.loop
