"""Calls in flight, bounded: who is one too many hears so at once."""

import math
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ConcurrencyLimit", "per_process", "route_of"]

_FREE: Final = frozenset(
    {"/livez", "/readyz", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json", "/schema.json"}
)
_FREE_BELOW: Final = "/docs/"


def per_process(most: int, processes: int) -> int:
    """What one of several front-end processes may have in flight."""
    return math.ceil(most / processes)


def route_of(scope: Scope) -> str:
    """The path that routes are found by."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class ConcurrencyLimit:
    """Refuses requests above a number in flight; a stream is in flight until its end.

    Health, metrics and docs are always answered: a full service must not look like a dead one.

    Args:
        app: what is behind.
        most: requests in flight.
        refusal: makes the answer to a request that is refused, and counts it.
    """

    def __init__(self, app: ASGIApp, *, most: int, refusal: Callable[[Scope], ASGIApp]) -> None:
        self._app = app
        self._most = most
        self._refusal = refusal
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_free(route_of(scope)):
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            await self._refusal(scope)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1

    def _is_free(self, path: str) -> bool:
        return path in _FREE or path.startswith(_FREE_BELOW)
