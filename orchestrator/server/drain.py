"""The end of a front-end: what is new hears that it stops, what is in flight has its time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.server.paths import READY, is_free, route_of

__all__ = ["Drain", "Draining"]

_LINGER_S: Final = 0.2
"""How long the port stays open at the least: for requests that are on their way, and would find it closed."""


class Drain:
    """Counts the requests in flight, and waits for their end.

    Attributes:
        stopping: new requests are refused.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._break_off: list[Callable[[], Awaitable[None]]] = []

    @property
    def in_flight(self) -> int:
        """Requests that are not answered to their end."""
        return self._in_flight

    def at_the_deadline(self, break_off: Callable[[], Awaitable[None]]) -> None:
        """Says how what is left then is answered."""
        self._break_off.append(break_off)

    def entered(self) -> None:
        self._in_flight += 1

    def left(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def finish(self, within_s: float) -> bool:
        """Refuses new requests, and returns when those in flight have ended, or are broken off.

        Returns:
            Whether all have ended in time.
        """
        self.stopping = True
        try:
            async with asyncio.timeout(within_s):
                await asyncio.sleep(min(_LINGER_S, within_s / 2))
                while self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            for break_off in self._break_off:
                await break_off()
            return False
        return True


class Draining:
    """Refuses requests once the front-end stops, and makes `/readyz` say so; health, metrics and docs are answered.

    Args:
        app: what is behind.
        refusal: makes the answer.
    """

    def __init__(self, app: ASGIApp, *, drain: Drain, refusal: Callable[[Scope], ASGIApp]) -> None:
        self._app = app
        self._drain = drain
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        drain = self._drain
        if drain.stopping:
            route = route_of(scope)
            if route == READY or not is_free(route):
                await self._refusal(scope)(scope, receive, send)
                return
        drain.entered()
        try:
            await self._app(scope, receive, send)
        finally:
            drain.left()
