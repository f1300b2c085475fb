"""Merges calls that wait for the same method: what comes while it is busy goes together when it is free."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.errors import CallError
from orchestrator.worker.executor import Answer, Executor, Invoke, Prepared

__all__ = ["Batcher"]

Outcome = Answer | CallError


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call.

    Attributes:
        batch: the task that runs it; None while it waits.
    """

    call: Prepared
    outcome: asyncio.Future[Outcome]
    batch: asyncio.Task[None] | None = None


class Batcher:
    """Batches of one API, in a worker that has its own event loop.

    (In a worker without one, Triton's dynamic batcher does this.) A call that finds nobody else waits for nothing.

    Args:
        most_rows: in one batch.
        in_flight: batches that run at once.
    """

    def __init__(self, executor: Executor, invoke: Invoke, most_rows: int, *, in_flight: int) -> None:
        self._executor = executor
        self._invoke = invoke
        self._most_rows = most_rows
        self._free = in_flight
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, call: Prepared) -> Outcome:
        """Runs a call, with others where that can be.

        Cancelled, it never starts, or returns when its batch has ended; a batch of which all calls are cancelled is.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(call, loop.create_future())
        self._waiting.append(waiting)
        # Not at once: the calls of this turn of the loop shall go together.
        loop.call_soon(self._start)
        try:
            return await waiting.outcome
        except asyncio.CancelledError:
            if waiting.batch is not None:
                await asyncio.wait((waiting.batch,))
            raise

    def _start(self) -> None:
        while self._free and self._waiting:
            batch: list[_Waiting] = []
            rows = 0
            while self._waiting and (not batch or rows + self._waiting[0].call.rows <= self._most_rows):
                waiting = self._waiting.popleft()
                if waiting.outcome.cancelled():  # the caller has gone: never start it
                    waiting.call.scope.close()
                    continue
                batch.append(waiting)
                rows += waiting.call.rows
            if batch:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                for waiting in batch:
                    waiting.batch = task
                    waiting.outcome.add_done_callback(partial(_cancel_if_alone, batch, task))

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._executor.run([each.call for each in batch], self._invoke)
            for each, answer in zip(batch, answers, strict=True):
                if not each.outcome.done():
                    each.outcome.set_result(answer)
        finally:
            self._free += 1
            for each in batch:
                if not each.outcome.done():
                    each.outcome.cancel()
            self._start()


def _cancel_if_alone(batch: Sequence[_Waiting], task: asyncio.Task[None], _: asyncio.Future[Outcome]) -> None:
    if all(each.outcome.cancelled() for each in batch):
        task.cancel()
