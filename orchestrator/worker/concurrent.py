"""Many calls of one instance at once, on one event loop: async methods there, sync methods in threads, streams in both."""

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from orchestrator.errors import CallError
from orchestrator.sdk import ApiBinding
from orchestrator.sdk.context import current_instance
from orchestrator.spec import ValueKind
from orchestrator.worker.batcher import Batcher
from orchestrator.worker.executor import Answer, Check, Executor, Prepared, WorkerCall
from orchestrator.worker.running import Running
from orchestrator.worker.threads import Threads

__all__ = ["Concurrent"]

T = TypeVar("T")
_HEAVY: Final = frozenset({ValueKind.IMAGE, ValueKind.FILE, ValueKind.TABLE, ValueKind.MANY})
"""Kinds whose decoding would hold up the other calls of the loop."""
_END: Final = object()


class Concurrent:
    """Runs calls on the event loop that it is made in.

    Sync methods share `threads` threads: with one, the default, the user's code never runs in two threads at once.
    Cancelling a call never starts what waits for a thread, ends async code, and waits for a thread that runs: what is
    cancelled has ended.

    Attributes:
        working: is entered by a thread for as long as the user's code keeps it busy.
    """

    def __init__(self, running: Running) -> None:
        spec = running.definition.spec
        self._running = running
        self._executor = Executor(running)
        self._threads = Threads(spec.threads, f"{spec.name}-worker")
        self._batchers = {
            api.name: Batcher(self._executor, self._invoke, api.batch.max_batch_size, in_flight=spec.threads)
            for api in spec.methods
            if api.batch is not None
        }
        self.working: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        self._heavy = {api.name for api in spec.apis if any(a.value.kind in _HEAVY for a in api.arguments)}

    async def prepare(self, call: WorkerCall) -> Prepared:
        """Makes a call's arguments.

        Raises:
            CallError: no such API, or an argument that it does not take.
        """
        if not self._heavy:
            return self._executor.prepare(call)
        preparing = asyncio.get_running_loop().run_in_executor(None, self._executor.prepare, call)
        try:
            return await asyncio.shield(preparing)
        except asyncio.CancelledError:
            preparing.add_done_callback(_drop)
            raise

    def is_stream(self, call: WorkerCall) -> bool:
        """Whether a call has any number of answers.

        Raises:
            EndpointNotFound: no such API.
        """
        return self._executor.binding_of(call).spec.stream

    async def call(self, prepared: Prepared) -> Answer:
        """Runs a call that has one answer.

        Raises:
            CallError: it failed.
        """
        batcher = self._batchers.get(prepared.binding.spec.name)
        if batcher is not None:
            answer = await batcher.submit(prepared)
        else:
            (answer,) = await self._executor.run([prepared], self._invoke)
        if isinstance(answer, CallError):
            raise answer
        return answer

    def stream(self, prepared: Prepared) -> AsyncGenerator[Answer, None]:
        """Runs a call that has any number of answers; closing the generator closes the user's."""
        return self._executor.chunks(prepared, self._produced(prepared))

    def close(self, within_s: float | None = None) -> bool:
        """Ends the threads; calls in them finish.

        Args:
            within_s: after this they are left behind; None waits for them.

        Returns:
            Whether they have ended.
        """
        return self._threads.close(within_s)

    async def _invoke(self, binding: ApiBinding, args: tuple[Any, ...], kwargs: dict[str, Any], check: Check) -> Any:
        instance = self._running.instance
        if binding.spec.is_async:
            return await binding.function(instance, *args, **kwargs)

        def run() -> Any:
            check()  # it has waited for this thread
            return binding.function(instance, *args, **kwargs)

        return await self._in_thread(run)

    async def _produced(self, prepared: Prepared) -> AsyncGenerator[Any, None]:
        """The chunks of a method, whatever sort of iterator it gives."""
        binding = prepared.binding
        args, kwargs = binding.bind(prepared.arguments, prepared.context)
        if binding.spec.is_async:
            source = binding.function(self._running.instance, *args, **kwargs)
        else:

            def run() -> Any:
                prepared.lifetime.check()
                return binding.function(self._running.instance, *args, **kwargs)

            source = await self._in_thread(run)
        if inspect.isawaitable(source):
            source = await source
        if hasattr(source, "__aiter__"):
            iterator = aiter(source)
            try:
                async for chunk in iterator:
                    yield chunk
            finally:
                if hasattr(iterator, "aclose"):
                    await iterator.aclose()
            return
        chunks: Iterator[Any] = iter(source)
        try:
            while (chunk := await self._in_thread(lambda: next(chunks, _END))) is not _END:
                yield chunk
        finally:
            if hasattr(chunks, "close"):
                await self._in_thread(chunks.close, always=True)

    async def _in_thread(self, function: Callable[[], T], *, always: bool = False) -> T:
        """Runs a function in a thread.

        Args:
            always: it is run also where the task is cancelled while it waits for the thread.
        """
        context = contextvars.copy_context()
        context.run(current_instance.set, self._running.instance)
        work = self._threads.submit(context.run, self._worked, function)
        outcome = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            if always or not work.cancel():  # it runs: the call's place is taken until it ends
                await asyncio.wait((outcome,))
                if not outcome.cancelled():
                    outcome.exception()  # asyncio: somebody has looked at it
            raise

    def _worked(self, function: Callable[[], T]) -> T:
        with self.working():
            return function()


def _drop(preparing: asyncio.Future[Prepared]) -> None:
    """Removes what was made for a call that is gone."""
    if not preparing.cancelled() and preparing.exception() is None:
        preparing.result().scope.close()
