"""The `Backend` over a Triton that a supervisor watches: what a caller notices of a death, and what not.

- A call that a worker had begun when it died fails, within some 200 ms of the death: it may have had its effects, and it
  may be what killed the worker. Triton itself tells after a second, and of a model that streams its answers never.
- A call that no worker had begun is sent again, to whoever takes the dead one's place.
- A call of a model that nothing runs waits for the repair where that is under way, 10 s at the most, and is refused where
  it has failed and is tried again later.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import re
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Final, TypeVar

from orchestrator.engine.backend import Backend, InferRequest, InferResponse, RunsOn
from orchestrator.engine.faults import WORKER_DIED
from orchestrator.engine.health import KNOWN_S, Health, HealthSource, Loss
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, EndpointNotFound
from orchestrator.triton.faults import NotBegun, StatusCause

__all__ = ["SupervisedBackend"]

T = TypeVar("T")
_LOOK_S: Final = 0.02
_GRACE_TURNS: Final = 8
_PATIENCE_S: Final = 10.0
_AGAIN_S: Final = 0.05
_NOTICED_S: Final = 2.0
"""A death is noticed in that time; who hears of it earlier waits to know which calls it took along."""
_NEVER_SENT: Final = re.compile(
    r"failed to connect to all addresses|unknown model: '.*' (is not found|has no available versions)"
)


class SupervisedBackend:
    """Implements `Backend`.

    Args:
        backend: reaches the server; closed with this.
        health: of the server; None for one that nobody here watches.
        alone: nothing else runs its models: what was not begun waits here until it can be. Otherwise it is a `NotBegun`.
    """

    def __init__(self, backend: Backend, health: HealthSource | None, *, alone: bool = True) -> None:
        self._backend = backend
        self._source = health
        self._alone = alone
        self._health = health.read() if health else Health()
        self._serial = max((loss.serial for loss in self._health.losses), default=0)
        self._attempts: defaultdict[str, set[_Attempt]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None
        self._numbers = itertools.count()

    async def open(self) -> None:
        if self._source is not None and self._watching is None:
            self._watching = asyncio.create_task(self._watch(self._source))
        await self._backend.open()

    async def infer(self, request: InferRequest) -> InferResponse:
        journey = _Journey(request, next(self._numbers))
        while True:
            await self._until_up(journey)
            attempt = journey.attempt()
            self._attempts[request.model].add(attempt)
            try:
                return await attempt.wait_for(self._backend.infer(attempt.request))
            except CallError as error:
                failure = error
            finally:
                self._attempts[request.model].discard(attempt)
            await self._before_next(journey, attempt, failure)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        journey, answered = _Journey(request, next(self._numbers)), False
        while True:
            await self._until_up(journey)
            attempt = journey.attempt()
            self._attempts[request.model].add(attempt)
            try:
                async with contextlib.aclosing(self._backend.stream(attempt.request)) as parts:
                    while attempt.lost is None:
                        part = await attempt.wait_for(anext(parts, None))
                        if part is None:
                            return
                        answered = True
                        yield part
                failure: CallError = attempt.died
            except CallError as error:
                failure = error
            finally:
                self._attempts[request.model].discard(attempt)
            if answered:
                raise failure
            await self._before_next(journey, attempt, failure)

    async def ready(self, model: str) -> bool:
        return self._health.of(model).answers and await self._backend.ready(model)

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._backend.close()

    async def _until_up(self, journey: "_Journey") -> None:
        """Returns once something runs the model.

        Raises:
            BackendUnavailable: that has failed, or takes too long.
        """
        while not (health := self._health.of(journey.model)).answers:
            if not self._alone:
                raise NotBegun(health.reason, soon=health.soon, retry_after_s=health.retry_s)
            if not health.soon or journey.patience_s <= 0:
                raise BackendUnavailable(health.reason, retry_after_s=health.retry_s)
            await asyncio.sleep(_AGAIN_S)

    async def _before_next(self, journey: "_Journey", attempt: "_Attempt", failure: CallError) -> None:
        """Returns where a call that has failed may be sent again.

        Raises:
            CallError: it may not, or no longer.
        """
        begun = await self._may_have_begun(journey, attempt, failure) if attempt.lost is None else attempt.lost
        if not begun and not self._alone and _was_never_sent(failure):
            raise failure
        if isinstance(failure, EndpointNotFound) and not begun:  # we know that there is such a model
            failure = BackendUnavailable("the model is not loaded")
        if begun or self._source is None or not self._source.known or journey.patience_s <= _AGAIN_S:
            raise failure
        if not self._alone:
            raise NotBegun(failure.message, soon=True)
        await asyncio.sleep(_AGAIN_S)

    async def _may_have_begun(self, journey: "_Journey", attempt: "_Attempt", error: CallError) -> bool:
        """Whether a worker may have begun a call that has failed; only what Triton itself says of it can tell."""
        cause = error.__cause__
        if not isinstance(cause, StatusCause) or cause.details:
            return True
        if _NEVER_SENT.search(cause.text):
            return False
        source = self._source
        if source is None or not source.known:
            return True
        if not WORKER_DIED.search(cause.text) or source.was_begun(journey.request_id):
            return True
        for turn in range(round(_NOTICED_S / _LOOK_S)):
            since_ns = time.monotonic_ns() - int(KNOWN_S * 1e9)
            died = [loss for loss in self._health.losses if loss.model == journey.model and loss.at_ns > since_ns]
            # One that died before it was sent may not be the one that had it.
            if died and (died[-1].at_ns > attempt.sent_ns or turn * _LOOK_S >= source.late_s):
                # Of a worker that is not ours, and has no page, nobody knows.
                beats = [source.beat(loss.pid) for loss in died]
                return any(beat is None or beat.has_begun(journey.request_id) for beat in beats)
            await asyncio.sleep(_LOOK_S)
        return True

    async def _watch(self, source: HealthSource) -> None:
        turn, heard = 0, deque[tuple[int, Loss]]()
        while True:
            before, self._health = self._health, source.read()
            if before.server_id != self._health.server_id:
                self._serial = 0  # another server, which counts anew
            for loss in self._health.losses:
                if loss.serial > self._serial:
                    self._serial = loss.serial
                    heard.append((turn, loss))
            # Answers that were on their way have arrived by then, since this loop has turned.
            while heard and turn - heard[0][0] >= _GRACE_TURNS:
                self._lose(heard.popleft()[1])
            turn += 1
            await asyncio.sleep(_LOOK_S)

    def _lose(self, loss: Loss) -> None:
        """Lets the callers go whose calls were lost with a worker."""
        beat = None if self._source is None else self._source.beat(loss.pid)
        for attempt in self._attempts[loss.model]:
            if attempt.sent_ns < loss.at_ns:
                begun = loss.last if beat is None else beat.has_begun(attempt.request.request_id)
                if begun or loss.last:
                    attempt.lose(begun=begun)


def _was_never_sent(error: CallError) -> bool:
    cause = error.__cause__
    return isinstance(cause, StatusCause) and not cause.details and _NEVER_SENT.search(cause.text) is not None


class _Journey:
    """A call, from its first attempt to its last.

    Args:
        number: for a call that has no id of its own.
    """

    def __init__(self, request: InferRequest, number: int) -> None:
        now = _now()
        self._request = request
        self.model = request.model
        self.request_id = request.request_id or f"{os.getpid()}-{number}"
        self._end = None if request.timeout_s is None else now + request.timeout_s
        self._patience_end: float | None = None

    @property
    def patience_s(self) -> float:
        """How long it may wait on, from its first trouble."""
        now = _now()
        if self._patience_end is None:
            self._patience_end = now + _PATIENCE_S
        return min(self._patience_end, now + _PATIENCE_S if self._end is None else self._end) - now

    def attempt(self) -> "_Attempt":
        """Its next one.

        Raises:
            DeadlineExceeded: its time is over.
        """
        now = _now()
        timeout_s = None if self._end is None else self._end - now
        if timeout_s is not None and timeout_s <= 0:
            raise DeadlineExceeded("the model did not answer in time")
        return _Attempt(self._request, self.request_id, timeout_s, now)


class _Attempt:
    """A call on its way.

    Attributes:
        request: as it is sent.
        sent_ns: when, on the machine's monotonic clock.
        lost: whether its worker had begun it, where that has died; None while it lives.
    """

    def __init__(self, request: InferRequest, request_id: str, timeout_s: float | None, now: float) -> None:
        self.request = dataclasses.replace(
            request, request_id=request_id, timeout_s=timeout_s, runs_on=self._relay(request.runs_on)
        )
        self.sent_ns = time.monotonic_ns()  # not the loop's time, which may be that of its last turn
        self.lost: bool | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def died(self) -> BackendUnavailable:
        return BackendUnavailable("the model's worker process has died during the call")

    async def wait_for(self, answer: Awaitable[T]) -> T:
        """Waits, until the call is lost.

        Raises:
            BackendUnavailable: it is.
        """
        # As asyncio.timeout does it, which takes ten times as long.
        self._task = task = asyncio.current_task()
        try:
            return await answer
        except asyncio.CancelledError:
            if self.lost is None or task is None or task.uncancel():
                raise
            raise self.died from None
        finally:
            self._task = None

    def lose(self, *, begun: bool) -> None:
        """Its worker has died."""
        if self.lost is None:
            self.lost = begun
            if self._task is not None:
                self._task.cancel()

    def _relay(self, runs_on: RunsOn | None) -> RunsOn:
        def relay(rest: asyncio.Future[Any]) -> None:
            if self.lost is not None:
                if self.request.late:
                    rest.cancel()  # it has no end: Triton waits for the dead worker for ever
            elif runs_on is not None:
                runs_on(rest)

        return relay


def _now() -> float:
    return asyncio.get_running_loop().time()
