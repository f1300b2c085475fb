"""Admission: which calls go to the backend now, which wait before it, and who hears at once that there is no room.

Triton's own queue stays short this way, and its batcher fed. What waits, waits here, where it has a priority and a
deadline, and can leave.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, Overloaded
from orchestrator.server.capacity import BATCHES, Capacity
from orchestrator.server.patience import Caller
from orchestrator.server.waiting import Place, WaitingRoom

__all__ = ["Admission", "Observer", "Ticket"]

_WEIGHT: Final = 0.1
"""Of the latest call in the moving mean of how long calls run."""
_FED_S: Final = 0.02
"""The backend may have as many units as it ends in this time, also where that is more than its capacity: with quick calls
the way there takes longer than the work, and two batches a worker leave it idle."""


class Observer(Protocol):
    """Counts what happens."""

    def length(self, calls: int) -> None:
        """So many calls wait now."""
        ...

    def waited(self, seconds: float) -> None:
        """A call that had to wait goes on."""
        ...

    def refused(self, reason: str) -> None:
        """A call gets no place, or loses it."""
        ...


class Ticket:
    """A place at the backend, kept until the call and all that it left behind have ended."""

    __slots__ = ("_admission", "_holds", "_since", "_size")

    def __init__(self, admission: "Admission", size: int, since: float) -> None:
        self._admission = admission
        self._size = size
        self._since = since
        self._holds = 1

    def release(self) -> None:
        """The call has ended. To be called once."""
        self._holds -= 1
        if not self._holds:
            self._admission._leave(self._size, self._since)  # its other half

    def runs_on(self, work: "asyncio.Future[Any]") -> None:
        """Keeps the place until some work has ended, too; see `InferRequest.runs_on`."""
        self._holds += 1
        work.add_done_callback(lambda _: self.release())


class Admission:
    """The calls of one service in one front-end process.

    Args:
        name: of the service.
        capacity: what may run and wait.
        queue_timeout_s: longest wait; None for as long as the callers' deadlines allow.
        clock: seconds, as the event loop's.
    """

    def __init__(
        self,
        name: str,
        capacity: Capacity,
        observer: Observer,
        *,
        queue_timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._capacity = capacity
        self._observer = observer
        self._queue_timeout_s = math.inf if queue_timeout_s is None else queue_timeout_s
        self._clock = clock
        self._calls = 0
        self._units = 0
        self._room: WaitingRoom[asyncio.Future[Ticket]] = WaitingRoom()
        self._most_units = math.inf if capacity.units is None else float(capacity.units)
        self._mean_s = 0.0
        self._ended = 0
        self._moved = 0.0

    @property
    def running(self) -> int:
        """Calls that have a place at the backend."""
        return self._calls

    @property
    def units(self) -> int:
        """Their units."""
        return self._units

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._room)

    def check(self, caller: Caller) -> None:
        """Refuses a call that `enter` would refuse, before anything is done for it.

        Raises:
            Overloaded: there is no place in the queue, or the wait would be too long.
        """
        if not self._has_place(1):
            self._check_wait(caller)
            if self._is_full() and self._room.loser(caller.priority, caller.client) is None:
                self._refuse_full(caller)

    async def enter(self, caller: Caller, size: int) -> Ticket:
        """Waits for a place at the backend.

        Args:
            size: in units; 0 for what needs none of the backend, and counts as a call only.

        Raises:
            Overloaded: there is none in the queue, or not in time.
            DeadlineExceeded: the caller's deadline has passed in the queue.
            BackendUnavailable: the server stops.
        """
        if self._has_place(size):
            return self._admit(size)
        self._check_wait(caller)
        if self._is_full():
            loser = self._room.loser(caller.priority, caller.client)
            if loser is None:
                self._refuse_full(caller)
            self._turn_away(loser, "displaced", Overloaded(f"{self._name}: another call has taken this one's place"))
        return await self._wait(caller, size)

    def stop(self) -> None:
        """Turns away all that wait."""
        for place in list(self._room):
            self._turn_away(place, "stopping", BackendUnavailable(f"{self._name} stops"))

    def wait_s(self, caller: Caller) -> float:
        """How long a new call would wait until it is worked on, about.

        What goes before it, at the rate at which calls end; and at the backend behind the batch before it.
        """
        if self._has_place(1):
            return 0.0
        now, capacity = self._clock(), self._capacity
        # Where nothing has moved for longer than a call takes, calls take longer now.
        takes_s = max(self._mean_s, now - self._moved) if self._ended else 0.0
        calls, units = self._room.ahead(caller.priority, caller.client)
        turns = 0.0
        if capacity.calls is not None and self._calls:
            turns = (calls + self._calls - capacity.calls + 1) / self._calls
        if capacity.units is not None and self._units:
            behind = 1 - 1 / BATCHES
            turns = max(turns, (units + self._units - self._most_units + 1) / self._units + behind)
        return max(0.0, turns * takes_s)

    def _has_place(self, size: int) -> bool:
        capacity = self._capacity
        if capacity.calls is not None and self._calls >= capacity.calls:
            return False
        if not size:
            return True
        return not self._room and self._units < self._most_units

    def _is_full(self) -> bool:
        capacity, waiting = self._capacity, len(self._room)
        if capacity.total is not None and self._calls + waiting >= capacity.total:
            return True
        return capacity.queue is not None and waiting >= capacity.queue

    def _check_wait(self, caller: Caller) -> None:
        wait_s = self.wait_s(caller)
        if wait_s > min(self._queue_timeout_s, caller.deadline - self._clock()):
            self._observer.refused("wait")
            raise Overloaded(f"{self._name} is busy: the call would wait {wait_s:.2g} s", retry_after_s=wait_s)

    def _refuse_full(self, caller: Caller) -> NoReturn:
        self._observer.refused("full")
        total = self._capacity.total
        what = f"{self._capacity.queue} calls waiting" if total is None else f"{total} calls in flight"
        raise Overloaded(f"{self._name} has {what}, and takes no more", retry_after_s=self.wait_s(caller))

    async def _wait(self, caller: Caller, size: int) -> Ticket:
        loop, began = asyncio.get_running_loop(), self._clock()
        place = Place(size, caller.priority, caller.client, loop.create_future())
        self._room.add(place)
        self._observer.length(len(self._room))
        left_s = max(0.0, caller.deadline - began)
        # Which of them it was is decided now: a timer may be early by a millisecond.
        timer = loop.call_later(min(self._queue_timeout_s, left_s), self._expire, place, self._queue_timeout_s < left_s)
        try:
            ticket: Ticket = await place.call
        except asyncio.CancelledError:
            if self._room.remove(place):
                self._observer.length(len(self._room))
            elif place.call.done() and not place.call.cancelled() and place.call.exception() is None:
                place.call.result().release()  # it had just got its place
            raise
        finally:
            timer.cancel()
        self._observer.waited(self._clock() - began)
        return ticket

    def _expire(self, place: "Place[asyncio.Future[Ticket]]", queued_too_long: bool) -> None:
        if queued_too_long:
            error: CallError = Overloaded(
                f"{self._name} is busy: the call has waited {self._queue_timeout_s:g} s", retry_after_s=self._mean_s
            )
        else:
            error = DeadlineExceeded(f"{self._name} did not come to the call in time")
        self._turn_away(place, "timeout", error)

    def _turn_away(self, place: "Place[asyncio.Future[Ticket]]", reason: str, error: CallError) -> None:
        if self._room.remove(place):
            self._observer.length(len(self._room))
            self._observer.refused(reason)
            if not place.call.done():
                place.call.set_exception(error)

    def _admit(self, size: int) -> Ticket:
        self._calls += 1
        self._units += size
        self._moved = now = self._clock()
        return Ticket(self, size, now)

    def _leave(self, size: int, since: float) -> None:
        if size:
            self._moved = now = self._clock()
            self._ended += 1
            self._mean_s += (now - since - self._mean_s) * max(_WEIGHT, 1 / self._ended)
            if self._capacity.units is not None and self._mean_s:
                self._most_units = max(self._capacity.units, self._units / self._mean_s * _FED_S)
        self._calls -= 1
        self._units -= size
        if self._room:
            self._call_next()

    def _call_next(self) -> None:
        capacity = self._capacity
        while (
            self._room and (capacity.calls is None or self._calls < capacity.calls) and self._units < self._most_units
        ):
            place = self._room.next()
            if not place.call.done():  # cancelled in this turn of the loop
                place.call.set_result(self._admit(place.size))
        self._observer.length(len(self._room))
