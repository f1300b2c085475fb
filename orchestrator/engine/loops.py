"""Coroutines for sync code: on the event loop of the service, which goes on meanwhile, or on one beside it."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final

from orchestrator.engine.backend import Backend
from orchestrator.engine.composition import Run
from orchestrator.errors import BackendUnavailable, CallCancelled, ServiceFault
from orchestrator.sdk.context import running_call

__all__ = ["OnLoop", "warn_on_loop"]

_LOOK_S: Final = 0.1
"""How often a thread that waits looks whether somebody still waits for itself."""
_END_S: Final = 5.0
logger = logging.getLogger("orchestrator.worker")


class OnLoop:
    """The way from the threads of a service to its event loop (implements `engine.composition.Blocking`).

    Code that blocks the loop itself would wait for ever for what that loop runs. BentoML lets such code be (each call
    blocks all others meanwhile), so it works here, too, with one warning: the call goes over a second event loop, in a
    thread of its own.

    Args:
        backend: of the loop.
        beside: makes a Backend for the second loop; None where everything runs on the first.
        runs_here: whether a service runs on the first loop.
    """

    in_place: Final = False

    def __init__(
        self, backend: Backend, *, beside: Callable[[], Backend] | None, runs_here: Callable[[str], bool]
    ) -> None:
        self._backend = backend
        self._beside = beside
        self._runs_here = runs_here
        self._loop: asyncio.AbstractEventLoop | None = None
        self._second: _SecondLoop | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """To be called on the loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ends the second loop, where there is one."""
        with self._lock:
            if self._second is not None:
                self._second.close()

    def way(self, service: str) -> tuple[Backend, Run]:
        if self._loop is None:
            raise ServiceFault(f"{service} was called while the service starts, when nothing runs it yet")
        loop = self._loop
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._backend, lambda coroutine: _wait(coroutine, loop)
        if self._beside is None or self._runs_here(service):
            raise ServiceFault(
                f"{service} was called in a way that blocks the event loop, which runs it",
                hint="in an async method write `await self.<dependency>.to_async.<api>(...)`",
            )
        with self._lock:
            if self._second is None:
                warn_on_loop(service)
                self._second = _SecondLoop(self._beside())
        second = self._second
        return second.backend, lambda coroutine: _wait(coroutine, second.loop)


_warned: set[str] = set()


def warn_on_loop(service: str) -> None:
    """Says once for each service where a call of it blocks an event loop: this thread's, if it has one that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if service not in _warned:
        _warned.add(service)
        logger.warning(
            "%s was called in a way that blocks all other calls meanwhile: "
            "in an async method write `await self.<dependency>.to_async.<api>(...)`",
            service,
        )


class _SecondLoop:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="orchestrator-second-loop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.backend.close(), self.loop).result(_END_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_END_S)


def _wait(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
    """Runs a coroutine on a loop of another thread, for as long as somebody waits for the call that this thread works for."""
    running = running_call.get()
    outcome: Future[Any] = Future()

    def begin() -> None:
        task = loop.create_task(coroutine, context=context)
        outcome.add_done_callback(lambda _: loop.call_soon_threadsafe(task.cancel) if outcome.cancelled() else None)
        task.add_done_callback(lambda _: _settle(outcome, task))

    context = contextvars.copy_context()
    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError as error:  # the loop is closed
        coroutine.close()
        raise BackendUnavailable("the service has stopped") from error
    while True:
        try:
            return outcome.result(_LOOK_S)
        except TimeoutError:
            if outcome.done():
                raise
            ended = running.end() if running is not None else None
            if ended is not None:
                outcome.cancel()
                raise ended from None
        except CancelledError:
            raise CallCancelled("the service stops") from None


def _settle(outcome: "Future[Any]", task: "asyncio.Task[Any]") -> None:
    if not outcome.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()  # asyncio: somebody has looked at it
    elif task.cancelled():
        outcome.set_exception(CallCancelled("the service stops"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
