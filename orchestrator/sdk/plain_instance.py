"""A service as a plain object in this process: for instances that are used without a server, as in a notebook or a test."""

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

__all__ = ["PlainInstance"]

_END: Final = object()
_instances: dict[type, Any] = {}
_lock = threading.RLock()


class PlainInstance:
    """An instance of another service's class; nothing stands between it and its caller.

    Attributes:
        to_async: the same, every method to be awaited.
        to_sync: the same, no method to be awaited.
    """

    __slots__ = ("_awaited", "_instance")

    def __init__(self, instance: Any, awaited: bool | None = None) -> None:
        self._instance = instance
        self._awaited = awaited

    @classmethod
    def of(cls, service: type) -> "PlainInstance":
        """The one instance of a class in this process, made when it is first needed."""
        with _lock:
            if service not in _instances:
                _instances[service] = service()
            return cls(_instances[service])

    @property
    def to_async(self) -> "PlainInstance":
        return PlainInstance(self._instance, True)

    @property
    def to_sync(self) -> "PlainInstance":
        return PlainInstance(self._instance, False)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._instance, name)
        if inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member):
            return functools.partial(_PlainStream, member)
        if self._awaited is None or not callable(member) or inspect.iscoroutinefunction(member) is self._awaited:
            return member
        return functools.partial(asyncio.to_thread, member) if self._awaited else functools.partial(_run, member)


class _PlainStream:
    """What a generator gives: read with `for` in sync code, with `async for` in async code, whatever it is itself."""

    def __init__(self, generator: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._chunks = generator(*args, **kwargs)
        self._is_async = inspect.isasyncgen(self._chunks)
        self._reading: Iterator[Any] | None = None
        self._areading: AsyncIterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self._read() if self._is_async else self._chunks

    def __next__(self) -> Any:
        self._reading = self._reading or iter(self)
        return next(self._reading)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks if self._is_async else self._aread()

    async def __anext__(self) -> Any:
        self._areading = self._areading or aiter(self)
        return await anext(self._areading)

    def _read(self) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as pool:  # this thread may have a loop that runs
            runner = pool.submit(asyncio.Runner).result()
            try:
                while (chunk := pool.submit(runner.run, _next(self._chunks)).result()) is not _END:
                    yield chunk
            finally:
                pool.submit(runner.close).result()  # ends the generator, too

    async def _aread(self) -> AsyncIterator[Any]:
        while (chunk := await asyncio.to_thread(next, self._chunks, _END)) is not _END:
            yield chunk


async def _next(chunks: AsyncGenerator[Any, None]) -> Any:
    return await anext(chunks, _END)


def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Awaits a coroutine for sync code, in a thread of its own: this one may have a loop that runs."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, asyncio.run, function(*args, **kwargs)).result()
