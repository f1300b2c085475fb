"""gRPC calls whose callers may leave at any time.

Triton 24.10 can crash when a call is cancelled - by its client, by its deadline, by a lost connection - in the moment in
which it ends (triton-inference-server/server issues 7368 and 8034). Measured here: deadlines of at most 1.5 ms on calls of
0.5 ms ended the server after 130 of them, and closing a stream in mid-flood after 10; what does not crash may leave a
request in flight for ever, which keeps its model from unloading.

So Triton is told of no deadline, and who leaves a call does not cancel it. The caller is released at once. Where the
worker is told by the cancel board (`engine/board.py`) the call is never cancelled: the worker ends it soon, and what
still comes is read and dropped. Elsewhere the call runs on unseen and is cancelled when it can be expected to be far from
its end: a single answer after a second, a stream in its first quiet moment after its first message. That took the crashes
from one in hundreds of cancellations to none in 50 000 for single answers, and for streams to what a model provokes that
sends without a pause.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from orchestrator.engine.backend import RunsOn
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded

__all__ = ["Calls"]

_ABANDONED_S = 1.0
_QUEUED_S = 30.0  # for a stream's first message: one cancelled in the queue may be just about to start
_QUIET_S = 0.02
_CLOSE_S = 1.0


class Calls:
    """The calls of one connection."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._running_on: set[Any] = set()

    async def answer(
        self, call: Any, timeout_s: float | None, *, told: bool = False, runs_on: RunsOn | None = None
    ) -> bytes:
        """Waits for the answer of a `grpc.aio` unary call.

        Args:
            call: just begun, without a deadline of its own.
            timeout_s: after this the caller is released.
            told: the worker knows by itself when the caller has gone.
            runs_on: see `InferRequest`.

        Raises:
            DeadlineExceeded: no answer in time.
            BackendUnavailable: `close` came first.
            grpc.aio.AioRpcError: the call failed.
        """
        try:
            await self._released_by(call.add_done_callback, timeout_s)
        except BaseException:
            if not call.done():
                self._run_on(call, runs_on)
                if not told:
                    asyncio.get_running_loop().call_later(_ABANDONED_S, call.cancel)
            raise
        answer: bytes = await call
        return answer

    async def parts(
        self, call: Any, timeout_s: float | None, *, told: bool = False, runs_on: RunsOn | None = None
    ) -> AsyncGenerator[Any, None]:
        """Yields the messages of a `grpc.aio` stream until its end.

        Args:
            call: just begun, without a deadline of its own.
            timeout_s: for the whole stream.
            told: the worker knows by itself when the caller has gone.
            runs_on: see `InferRequest`.

        Raises:
            DeadlineExceeded: it has not ended in time.
            BackendUnavailable: `close` came first.
            grpc.aio.AioRpcError: the call failed.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        reading = _read(call)
        begun = False
        try:
            while True:
                await self._released_by(reading.add_done_callback, None if end is None else end - loop.time())
                if reading.cancelled():
                    raise BackendUnavailable("the connection to Triton was closed during the call")
                message = reading.result()
                if message is grpc.aio.EOF:
                    return
                begun = True
                yield message
                reading = _read(call)
        finally:
            if not call.done():
                ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                if runs_on is not None:
                    runs_on(ended)
                # What was lost with its worker is not cancelled: that crashed Triton once in 200 streams.
                waits = told or ended.cancelled()
                task = asyncio.create_task(_drain(call, reading) if waits else _settle(call, reading, begun))
                self._settling.add(task)
                task.add_done_callback(self._settling.discard)
                task.add_done_callback(lambda _: _release(ended, None))

    async def close(self) -> None:
        """Releases every caller, and waits until what they left has ended, a second at most."""
        for released in self._waiting:
            _release(released, BackendUnavailable("the connection to Triton was closed during the call"))
        await asyncio.sleep(0)  # so that they leave
        if self._settling:
            _, late = await asyncio.wait(self._settling, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _run_on(self, call: Any, runs_on: RunsOn | None) -> None:
        """Keeps a call that nobody waits for until its end: gRPC cancels what is not kept."""
        self._running_on.add(call)
        call.add_done_callback(self._running_on.discard)
        if runs_on is not None:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            call.add_done_callback(lambda _: _release(ended, None))
            runs_on(ended)

    async def _released_by(
        self, add_done_callback: Callable[[Callable[[Any], None]], None], timeout_s: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        released = loop.create_future()
        add_done_callback(lambda _: _release(released, None))
        timer = None
        if timeout_s is not None:
            timer = loop.call_later(timeout_s, _release, released, DeadlineExceeded("the model did not answer in time"))
        self._waiting.add(released)
        try:
            await released
        finally:
            self._waiting.discard(released)
            if timer is not None:
                timer.cancel()


def _release(released: asyncio.Future[None], error: CallError | None) -> None:
    if released.done():
        return
    if error is None:
        released.set_result(None)
    else:
        released.set_exception(error)


async def _drain(call: Any, reading: asyncio.Future[Any]) -> None:
    """Reads on until the worker has ended the stream."""
    while True:
        await asyncio.wait({reading})
        if reading.cancelled() or reading.exception() or reading.result() is grpc.aio.EOF:
            return
        reading = _read(call)


async def _settle(call: Any, reading: asyncio.Future[Any], begun: bool) -> None:
    """Reads on until the stream ends or is quiet, then cancels it."""
    loop = asyncio.get_running_loop()
    try:
        if not begun:
            await asyncio.wait({reading}, timeout=_QUEUED_S)
        end = loop.time() + _ABANDONED_S
        while loop.time() < end:
            await asyncio.wait({reading}, timeout=_QUIET_S)
            if not reading.done() or reading.cancelled() or reading.exception() or reading.result() is grpc.aio.EOF:
                break
            reading = _read(call)
    finally:
        call.cancel()


def _read(call: Any) -> asyncio.Task[Any]:
    """Reads one message in a task of its own: cancelling a read in place would cancel the call."""
    reading = asyncio.create_task(call.read())
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # asyncio: somebody has looked at it
    return reading
