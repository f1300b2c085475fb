"""The short way of a call: around FastAPI's routing, which costs more than all of our own work.

FastAPI keeps the same routes for everything that is not hot: OpenAPI, wrong methods, problems. Measured with iris at 16 calls
in flight: 120 of 430 us of front-end CPU a call (docs/architecture/05-performance.md).
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.server.paths import route_of

__all__ = ["Endpoint", "HotPath"]

Endpoint = Callable[[Request], Awaitable[Response]]


class HotPath:
    """Calls an endpoint by the exact path of its POST route; leaves everything else to the application.

    Args:
        app: FastAPI, with the same endpoints among its routes.
        routes: path -> endpoint.
    """

    def __init__(self, app: ASGIApp, *, routes: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._routes.get(route_of(scope))
            if endpoint is not None:
                response = await endpoint(Request(scope, receive, send))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
