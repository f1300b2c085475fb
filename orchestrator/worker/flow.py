"""Flow control of streams: a worker makes chunks no faster than its caller reads them.

Triton 24.10 keeps whatever a worker sends, without limit, until it is read; so a slow reader would fill its memory. A
caller on the cancel board writes there how many chunks it has taken (`engine/board.py`). The worker stops a window ahead
of that, and asks for the next chunk of the user's generator only when there is room.

Nobody tells a worker that there is room: it looks, and the pauses grow while there is none. One timer looks for all
streams of an event loop that wait, so that a thousand readers who have stopped cost little.
"""

import asyncio
import time
from collections import deque
from typing import Any, Final

import numpy as np

from orchestrator.engine.board import BoardReader
from orchestrator.errors import CallCancelled
from orchestrator.worker.executor import Answer

__all__ = ["Flow", "Window"]

_CHUNKS: Final = 256
"""Of a stream that may be under way. With 64 a reader of small ones sometimes had none left before the worker had looked:
0.86 of the rate without flow control, 0.97 and more with 256."""
_BYTES: Final = 4 << 20
"""That may be under way; the chunk that goes beyond is sent yet. Two may always be under way, however large: one is made
while the other one is read."""
_ROOM: Final = 0.5
"""Of both: who has waited goes on when no more than that is under way, so that it wakes once for many chunks."""
_SHORTEST_S: Final = 0.0005
_LONGEST_S: Final = 0.02
_GROWTH: Final = 1.25
_SHARE: Final = 0.05
"""Of the event loop's time, for looking, at the most."""
_HELD_S: Final = 0.005
"""How long streams may keep the event loop from everything else."""
_OWNER_S: Final = 1.0
"""How often it is asked whether the callers of streams that wait still live: 9 us a stream."""


class Flow:
    """The streams of a worker's event loop.

    Args:
        board: of the machine; None where there is none, and no stream waits.
    """

    def __init__(self, board: BoardReader | None) -> None:
        self._board = board
        self._waiting: dict[Window, asyncio.Future[bool]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = _SHORTEST_S
        self._not_before = 0.0
        self._owners_at = 0.0
        self._turn_at = 0.0

    def window(self, number: int | None) -> "Window | None":
        """The window of a stream that begins; None where its caller is not on the board, and nobody can tell what it reads.

        Args:
            number: the call's on the board.
        """
        if self._board is None or not number or self._board.consumed(number) is None:
            return None
        return Window(self._board, number)

    async def sent(self, window: "Window | None", answer: Answer) -> None:
        """A chunk has been sent: returns once there is room for the next one.

        Args:
            window: of its stream; without one there is always room.

        Raises:
            CallCancelled: there will be none, the caller has gone.
        """
        loop = asyncio.get_running_loop()
        if window is None or window.add(_bytes_of(answer)):
            if loop.time() >= self._turn_at:  # a generator that never waits would hold up all other calls
                await asyncio.sleep(0)
                self._turn_at = loop.time() + _HELD_S
            return
        self._waiting[window] = room = loop.create_future()
        self._pause_s = _SHORTEST_S
        self._look_soon(loop)
        try:
            comes = await room
        finally:
            del self._waiting[window]
        if not comes:
            raise CallCancelled("the caller has gone")

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        at = max(loop.time() + self._pause_s, self._not_before)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        began = time.thread_time()  # not the time that a busy machine gave to others
        ask = loop.time() - self._owners_at >= _OWNER_S
        if ask:
            self._owners_at = loop.time()
        self._pause_s = min(self._pause_s * _GROWTH, _LONGEST_S)
        waits = False
        for window, room in self._waiting.items():
            if room.done():
                continue
            if window.is_gone(ask_owner=ask):
                room.set_result(False)
            elif window.has_room():
                room.set_result(True)
                self._pause_s = _SHORTEST_S
            else:
                waits = True
        self._not_before = loop.time() + (time.thread_time() - began) / _SHARE
        if waits:
            self._look_soon(loop)


class Window:
    """What of one stream is under way."""

    def __init__(self, board: BoardReader, number: int) -> None:
        self._board = board
        self._number = number
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._taken = 0

    def add(self, size: int) -> bool:
        """A chunk of so many bytes has gone off; whether there is room for one more."""
        self._sizes.append(size)
        self._bytes += size
        if self._within(_CHUNKS - 1, _BYTES):
            return True
        self._update()
        return self._within(_CHUNKS - 1, _BYTES)

    def has_room(self) -> bool:
        """Whether there is so much room that it is worth to go on."""
        self._update()
        return self._within(int(_CHUNKS * _ROOM), int(_BYTES * _ROOM))

    def is_gone(self, *, ask_owner: bool) -> bool:
        """Whether nobody will read any more.

        Args:
            ask_owner: whether the process lives that has the call, too.
        """
        gone = self._board.consumed(self._number) is None
        return gone or (ask_owner and not self._board.is_owned(self._number))

    def _update(self) -> None:
        taken = self._board.consumed(self._number) or 0
        while self._taken < taken and self._sizes:
            self._bytes -= self._sizes.popleft()
            self._taken += 1

    def _within(self, chunks: int, size: int) -> bool:
        return len(self._sizes) <= 1 or (len(self._sizes) <= chunks and self._bytes < size)


def _bytes_of(answer: Answer) -> int:
    return sum(_bytes_in(tensor) for tensor in answer.tensors.values())


def _bytes_in(tensor: "np.ndarray[Any, Any]") -> int:
    # Of text and bytes the array has only pointers.
    return tensor.nbytes if tensor.dtype != object else sum(map(len, tensor.flat))
