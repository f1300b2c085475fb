"""Calls of services and models from inside Triton (BLS). Only in a worker: `triton_python_backend_utils` is there."""

import asyncio
import contextlib
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Final, TypeVar

from orchestrator.engine.answers import chunks_of, drained, receive, wait_readable
from orchestrator.engine.backend import InferRequest, InferResponse, RunsOn, Tensors
from orchestrator.engine.models import of_model
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, OutputMismatch
from orchestrator.formats import from_triton, to_triton
from orchestrator.sdk.native import refuse_at_start, refuse_on_loop
from orchestrator.spec import NativeModelSpec
from orchestrator.worker.bls_calls import MODEL_CALLS, BlsCalls
from orchestrator.worker.paces import Paces

__all__ = ["MODEL_CALLS", "BlockingBlsBackend", "BlsBackend", "BlsCalls", "BlsModels"]

T = TypeVar("T")
_READ_BYTES: Final = 256 << 10


class _Bls(ABC):
    """Both Backends: they differ in how they wait.

    Args:
        calls: of the worker. All that calls in it shares one.
    """

    def __init__(self, calls: BlsCalls | None = None) -> None:
        self.calls = calls or BlsCalls()

    def start(self) -> None:
        """From now on calls are possible."""
        self.calls.start()

    def stop(self) -> None:
        """No call begins any more; none is waited for."""
        self.calls.stop()

    async def open(self) -> None:  # noqa: B027
        """Nothing to do: see `start`."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Runs a model that gives one answer.

        Raises:
            CallError: see `Backend`.
        """
        if request.late:  # only the worker itself can let us know that it has died
            # To the end: a stream that is closed early counts as cancelled.
            answers = [response async for response in self._directly(request, decoupled=False)]
            if len(answers) != 1:
                raise OutputMismatch(f"{request.model} gave {len(answers)} answers where one was due")
            return answers[0]
        with self._entered(request) as number:
            outputs = await self._called(partial(self.calls.answer, request, number), request)
        return InferResponse(outputs)

    def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        """Runs a service whose model is decoupled. `request.timeout_s` is for the whole stream.

        Memory is bounded: the worker waits where its chunks are not read. Closing the generator ends the inference soon.

        Raises:
            CallError: see `Backend`.
        """
        return self._directly(request, decoupled=True)

    async def _directly(self, request: InferRequest, *, decoupled: bool) -> AsyncGenerator[InferResponse, None]:
        """Past Triton, see `engine/answers.py`."""
        end = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        with self._entered(request) as number:
            connected = await self._called(partial(self.calls.begin, request, number, decoupled=decoupled), request)
            ended = False
            try:
                async with contextlib.aclosing(chunks_of(partial(self._received, connected, end))) as chunks:
                    async for chunk in chunks:
                        yield InferResponse(chunk)
                ended = True
            except CallError as error:
                ended = not isinstance(error, DeadlineExceeded)
                raise
            finally:
                self._left(connected, None if ended else request.runs_on)

    async def ready(self, model: str) -> bool:
        """Whether Triton says that the model is loaded. It says so with a dead worker, too."""
        try:
            return await self._called(partial(self.calls.is_ready, model), InferRequest(model, {}))
        except CallError:
            return False

    async def close(self) -> None:
        """As `stop`; streams that have begun go on."""
        self.stop()

    def _entered(self, request: InferRequest) -> contextlib.AbstractContextManager[int]:
        self.calls.check(request.model)
        return self.calls.entered()

    @abstractmethod
    async def _called(self, function: Callable[[], T], request: InferRequest) -> T:
        """Runs what blocks.

        Raises:
            DeadlineExceeded: the caller's time is over; the function runs on, and what it gives is dropped.
        """

    @abstractmethod
    async def _received(self, connected: socket.socket, end: float | None) -> bytes:
        """Waits for more of a stream; nothing where its worker has died.

        Args:
            end: of the caller's time, on the machine's monotonic clock.

        Raises:
            DeadlineExceeded: the caller's time is over.
        """

    def _left(self, connected: socket.socket, runs_on: RunsOn | None) -> None:
        """Nobody reads a stream any more: its worker sees it, and ends it.

        Args:
            runs_on: where it has not ended, and somebody wants to know when it has.
        """
        connected.close()


class BlsBackend(_Bls):
    """Calls from an event loop (implements `engine.backend.Backend`).

    Args:
        calls: of the worker.
    """

    def __init__(self, calls: BlsCalls | None = None) -> None:
        super().__init__(calls)
        self._draining: set[asyncio.Task[None]] = set()

    async def _called(self, function: Callable[[], T], request: InferRequest) -> T:
        work = _submitted(self.calls, function)
        outcome = asyncio.wrap_future(work)
        try:
            await asyncio.wait((outcome,), timeout=request.timeout_s)
            if not outcome.done():
                raise _too_late()
        except BaseException:
            if not work.cancel():
                work.add_done_callback(_dropped)
                outcome.add_done_callback(_looked_at)
                if request.runs_on is not None:
                    request.runs_on(outcome)
            raise
        if outcome.cancelled():
            raise _stops()
        return outcome.result()

    async def _received(self, connected: socket.socket, end: float | None) -> bytes:
        return await receive(connected, end)

    def _left(self, connected: socket.socket, runs_on: RunsOn | None) -> None:
        if runs_on is None:
            connected.close()
            return
        task = asyncio.create_task(drained(connected))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)
        runs_on(task)


class BlockingBlsBackend(_Bls):
    """Calls from sync methods (implements `engine.backend.Backend`): coroutines that wait in place.

    `worker.executor.drive` runs them, without an event loop. `InferRequest.runs_on` is not called: there is no loop for it.

    Who has time, and waits for a model that is quick, waits for Triton itself, also where it is late for once: to leave it in
    time takes another thread, whose hand-over costs more than a small model (three calls: 0.4 of 2.4 ms).

    Args:
        calls: of the worker.
    """

    def __init__(self, calls: BlsCalls | None = None) -> None:
        super().__init__(calls)
        self._paces = Paces()

    async def _called(self, function: Callable[[], T], request: InferRequest) -> T:
        if request.timeout_s is None or self._paces.is_quick(request.model, request.timeout_s):
            end = None if request.timeout_s is None else time.monotonic() + request.timeout_s
            with self._paces.timed(request.model):
                result = function()
            if end is not None and time.monotonic() > end:
                if isinstance(result, socket.socket):
                    result.close()
                raise _too_late()
            return result
        work = _submitted(self.calls, function)
        try:
            with self._paces.timed(request.model):
                return work.result(request.timeout_s)
        except TimeoutError:
            if not work.cancel():
                work.add_done_callback(_dropped)
            raise _too_late() from None
        except CancelledError:
            raise _stops() from None

    async def _received(self, connected: socket.socket, end: float | None) -> bytes:
        try:
            if not wait_readable(connected, None if end is None else end - time.monotonic()):
                raise _too_late()
            return connected.recv(_READ_BYTES)
        except OSError:
            return b""


class BlsModels:
    """Runs native models (implements `ModelCaller`).

    Args:
        calls: of the worker.
    """

    def __init__(self, calls: BlsCalls | None = None) -> None:
        self._backend = BlsBackend(calls)
        self._calls = self._backend.calls

    def start(self) -> None:
        """From now on calls are possible."""
        self._calls.start()

    def stop(self) -> None:
        """No call begins any more; none is waited for."""
        self._calls.stop()

    def call(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        refuse_on_loop(spec)
        return self._run(spec, inputs, outputs)

    async def acall(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if not self._calls.serving:
            refuse_at_start(spec)
        return await self._backend._called(partial(self._run, spec, inputs, outputs), InferRequest(spec.name, {}))

    def _run(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if not self._calls.serving:
            refuse_at_start(spec)
        try:
            answer = self._calls.answer(InferRequest(spec.name, to_triton(spec, inputs), outputs=outputs))
        except CallError as error:
            raise of_model(error, spec) from error.__cause__
        return from_triton(spec, answer)


def _submitted(calls: BlsCalls, function: Callable[[], T]) -> Future[T]:
    try:
        return calls.pool.submit(function)
    except RuntimeError as error:  # it has been shut down
        raise _stops() from error


def _dropped(work: Future[Any]) -> None:
    """What came too late: a stream's worker sees that nobody reads it."""
    if not work.cancelled() and work.exception() is None and isinstance(result := work.result(), socket.socket):
        result.close()


def _looked_at(outcome: asyncio.Future[Any]) -> None:
    """So that asyncio does not complain of an error that nobody has seen."""
    if not outcome.cancelled():
        outcome.exception()


def _stops() -> BackendUnavailable:
    return BackendUnavailable("the service stops")


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the model did not answer in time")
