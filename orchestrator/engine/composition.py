"""Calls from one service to another, through whatever Backend reaches it."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, Protocol

from orchestrator.engine.backend import Backend, RunsOn
from orchestrator.engine.invoker import Invoker
from orchestrator.engine.origin import inherited
from orchestrator.errors import CallError, DeadlineExceeded
from orchestrator.sdk.context import RunningCall, running_call
from orchestrator.sdk.outgoing import outgoing
from orchestrator.sdk.raised import as_raised
from orchestrator.spec import CalledService

__all__ = ["BackendService", "Blocking", "Run"]

Run = Callable[[Coroutine[Any, Any, Any]], Any]
_END: Final = object()


class Blocking(Protocol):
    """How sync code runs coroutines."""

    @property
    def in_place(self) -> bool:
        """Whether its Backend's coroutines block and never wait; see `Invoker`."""
        ...

    def way(self, service: str) -> tuple[Backend, Run]:
        """The Backend that this thread is to call, and what runs a coroutine that uses it and blocks until it has ended.

        Args:
            service: that is called, for errors.

        Raises:
            ServiceFault: this thread must not block.
        """
        ...


class BackendService:
    """Calls one service (implements `sdk.binding.ServiceCaller`).

    Args:
        service: it.
        backend: for coroutines, on the event loop that they are awaited on.
        blocking: for sync code.
    """

    def __init__(self, service: CalledService, backend: Backend, blocking: Blocking) -> None:
        self._service = service
        self._invoker = Invoker(service, backend)
        self._blocking = blocking
        self._blocked: dict[int, Invoker] = {id(backend): self._invoker}

    def call(self, api: str, arguments: Mapping[str, Any]) -> Any:
        invoker, run = self._way()
        return run(self._call(invoker, api, arguments, running_call.get()))

    async def acall(self, api: str, arguments: Mapping[str, Any]) -> Any:
        return await self._call(self._invoker, api, arguments, running_call.get())

    def stream(self, api: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        invoker, run = self._way()
        return _Blocked(self._stream(invoker, api, arguments, running_call.get()), run)

    def astream(self, api: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return self._stream(self._invoker, api, arguments, running_call.get())

    def _way(self) -> tuple[Invoker, Run]:
        backend, run = self._blocking.way(self._service.name)
        invoker = self._blocked.get(id(backend))
        if invoker is None:
            invoker = self._blocked[id(backend)] = Invoker(self._service, backend, in_place=self._blocking.in_place)
        return invoker, run

    async def _call(self, invoker: Invoker, api: str, arguments: Mapping[str, Any], running: RunningCall | None) -> Any:
        left_s = self._left(running)
        timeout_s = self._service.timeout_s if left_s is None else min(left_s, self._service.timeout_s)
        with outgoing(self._service.name, api, running) as step:
            try:
                outcome = await invoker.call(
                    api, arguments, timeout_s=timeout_s, runs_on=_runs_on(step), parameters=inherited(step)
                )
            except CallError as error:
                raise as_raised(error) from error.__cause__
        return outcome.value

    async def _stream(
        self, invoker: Invoker, api: str, arguments: Mapping[str, Any], running: RunningCall | None
    ) -> AsyncGenerator[Any, None]:
        with outgoing(self._service.name, api, running) as step:
            stream = invoker.stream(
                api, arguments, timeout_s=self._left(running), runs_on=_runs_on(step), parameters=inherited(step)
            )
            try:
                async with aclosing(stream) as outcomes:
                    async for outcome in outcomes:
                        yield outcome.value
            except CallError as error:
                raise as_raised(error) from error.__cause__

    def _left(self, running: RunningCall | None) -> float | None:
        """Seconds until the deadline of the call that this one is made for; None without one.

        Raises:
            DeadlineExceeded: there are none.
        """
        if running is None or running.deadline is None:
            return None
        left_s = running.deadline - time.time()
        if left_s <= 0:
            raise DeadlineExceeded(f"{self._service.name} was not called: the deadline has passed")
        return left_s


def _runs_on(running: RunningCall | None) -> RunsOn | None:
    return None if running is None else running.runs_on


class _Blocked:
    """An async generator for sync code."""

    def __init__(self, chunks: AsyncGenerator[Any, None], run: Run) -> None:
        self._chunks = chunks
        self._run = run
        self._ended = False

    def __iter__(self) -> "_Blocked":
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        try:
            chunk = self._run(_next(self._chunks))
        except BaseException:
            self._ended = True
            raise
        if chunk is _END:
            self._ended = True
            raise StopIteration
        return chunk

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._run(_close(self._chunks))

    def __del__(self) -> None:
        if not self._ended:  # a loop that is left by `break` has no other end
            # In a thread of its own: the collector may run us on the very loop that is to close it.
            with suppress(RuntimeError):  # the process ends
                threading.Thread(target=self.close, daemon=True).start()


async def _next(chunks: AsyncGenerator[Any, None]) -> Any:
    return await anext(chunks, _END)


async def _close(chunks: AsyncGenerator[Any, None]) -> None:
    await chunks.aclose()
