"""A service as a plain object in this process: for instances that are used without a server, as in a notebook or a test."""

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["PlainInstance"]

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
        if self._awaited is None or not callable(member):
            return member
        is_generator = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member)
        if is_generator or inspect.iscoroutinefunction(member) is self._awaited:
            return member
        return functools.partial(asyncio.to_thread, member) if self._awaited else functools.partial(_run, member)


def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Awaits a coroutine for sync code, in a thread of its own: this one may have a loop that runs."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, asyncio.run, function(*args, **kwargs)).result()
