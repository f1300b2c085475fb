"""The calls that go to one server: awaited, or made by code that blocks; errors come as the caller's code knows them."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from orchestrator.client.background import BlockedStream, blocked
from orchestrator.client.connection import Connection
from orchestrator.client.exchange import Exchange
from orchestrator.errors import RequestFailed
from orchestrator.sdk.context import running_call

__all__ = ["Remote"]

T = TypeVar("T")
logger = logging.getLogger("orchestrator.client")


class Remote:
    """Makes calls. What they inherit is of the call that runs where a method of this is called.

    Args:
        url: of the server.
        cls: the service's class, where it is known.
    """

    def __init__(self, url: str, cls: type | None = None) -> None:
        self.url = url
        self._cls = cls
        self._connection = Connection(url, self._as_raised)
        self._has_warned = False

    async def acall(self, where: str, exchange: Exchange) -> Any:
        """Makes a call that has one answer.

        Args:
            where: what is called, for errors.

        Raises:
            CallError: of the class that the server meant; `BackendUnavailable` where nothing answers.
        """
        return await self._connection.answer(where, exchange, running_call.get())

    def astream(self, where: str, exchange: Exchange) -> AsyncGenerator[Any, None]:
        """Makes a call that is a stream. Raises as `acall`."""
        return self._connection.chunks(where, exchange, running_call.get())

    def call(self, where: str, exchange: Exchange) -> Any:
        """As `acall`, and blocks."""
        return self.block(where, self.acall(where, exchange))

    def stream(self, where: str, exchange: Exchange) -> Iterator[Any]:
        """As `astream`, and blocks for each chunk."""
        self._warn(where)
        return BlockedStream(self.astream(where, exchange))

    async def schema(self) -> bytes:
        """See `Connection.schema`."""
        return await self._connection.schema(running_call.get())

    async def ready(self) -> bool:
        """Whether the server can answer now; it has a second to say so."""
        return await self._connection.ready()

    def block(self, where: str, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine of this object, and blocks."""
        self._warn(where)
        return blocked(coroutine)

    def _warn(self, where: str) -> None:
        """BentoML lets code block its own event loop, so it works here, too."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s was called in a way that blocks all other calls meanwhile: "
                "in an async method write `await self.<dependency>.to_async.<api>(...)`",
                where,
            )

    def _as_raised(self, error: RequestFailed) -> RequestFailed:
        """The error in the class that the service's code raised, if this process has it.

        Other than from service to service, only its name comes along: it is looked for beside the service's class, then
        among all that there are.
        """
        if type(error) is not RequestFailed or not error.name:
            return error
        found = getattr(sys.modules.get(self._cls.__module__), error.name, None) if self._cls is not None else None
        if not (isinstance(found, type) and issubclass(found, RequestFailed)):
            named = {each for each in _below(RequestFailed) if each.__name__ == error.name}
            found = named.pop() if len(named) == 1 else RequestFailed
        return error if found is RequestFailed else found.rebuilt(error)


def _below(cls: type[RequestFailed]) -> Iterator[type[RequestFailed]]:
    for each in cls.__subclasses__():
        yield each
        yield from _below(each)
