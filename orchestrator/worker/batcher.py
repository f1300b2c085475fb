"""Merges calls that wait for the same method: what comes while it is busy goes together when it is free."""

import asyncio
from collections import deque

from orchestrator.errors import CallError
from orchestrator.worker.executor import Answer, Executor, Invoke, Prepared

__all__ = ["Batcher"]

Outcome = Answer | CallError


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
        self._waiting: deque[tuple[Prepared, asyncio.Future[Outcome]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, call: Prepared) -> Outcome:
        """Runs a call, with others where that can be."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((call, future))
        # Not at once: the calls of this turn of the loop shall go together.
        loop.call_soon(self._start)
        return await future

    def _start(self) -> None:
        while self._free and self._waiting:
            batch: list[tuple[Prepared, asyncio.Future[Outcome]]] = []
            rows = 0
            while self._waiting and (not batch or rows + self._waiting[0][0].rows <= self._most_rows):
                call, future = self._waiting.popleft()
                if future.cancelled():  # the caller has gone: never start it
                    call.scope.close()
                    continue
                batch.append((call, future))
                rows += call.rows
            if batch:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Prepared, asyncio.Future[Outcome]]]) -> None:
        try:
            answers = await self._executor.run([call for call, _ in batch], self._invoke)
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        finally:
            self._free += 1
            for _, future in batch:
                if not future.done():
                    future.cancel()
            self._start()
