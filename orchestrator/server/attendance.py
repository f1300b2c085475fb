"""Whether the caller still waits: who closes the connection ends the call."""

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

from orchestrator.errors import CallCancelled

__all__ = ["Attendance", "until_gone"]

_LOOK_AFTER_S: Final = 0.05
"""A call that is answered before that is not worth a task that looks."""


async def until_gone(receive: Receive) -> None:
    """Returns when the caller has closed the connection. The body must have been read: what is left of it is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Attendance:
    """Cancels what runs inside, once its caller has closed the connection.

    Args:
        receive: ASGI's, behind the body; None where nobody can tell.

    Raises:
        CallCancelled: at the end, where that has happened.
    """

    __slots__ = ("_cancelling", "_gone", "_over", "_receive", "_task", "_timer", "_watch")

    def __init__(self, receive: Receive | None) -> None:
        self._receive = receive
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._gone = self._over = False

    def __enter__(self) -> Self:
        if self._receive is not None:
            task = asyncio.current_task()
            assert task is not None
            self._task, self._cancelling = task, task.cancelling()
            self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is None:
            return
        self._over = True
        self._timer.cancel()
        if self._watch is None:
            return
        self._watch.cancel()
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise CallCancelled("the caller went away before the answer") from error

    def _look(self) -> None:
        assert self._receive is not None
        self._watch = asyncio.get_running_loop().create_task(until_gone(self._receive))
        self._watch.add_done_callback(self._left)

    def _left(self, watch: "asyncio.Task[None]") -> None:
        if not watch.cancelled() and watch.exception() is None and not self._over:
            self._gone = True
            self._task.cancel()
