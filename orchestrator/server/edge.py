"""What a request meets before the routes, from outside in: access log, CORS, path prefix, access, the end of the front-end.

Each of them is there only where it is asked for.
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from orchestrator.server.access import AccessLogger
from orchestrator.server.auth import Authenticator, Guard, Refusal
from orchestrator.server.auth_rights import Rights
from orchestrator.server.drain import Drain, Draining
from orchestrator.server.limits import Limits, set_limits
from orchestrator.server.rate import Rates
from orchestrator.spec import ServiceSpec

__all__ = ["add_edge"]


def add_edge(
    app: FastAPI,
    service: ServiceSpec,
    *,
    drain: Drain | None,
    stopped: Callable[[Scope], ASGIApp],
    not_found: Callable[[Scope], ASGIApp],
    denied: Refusal,
    refused: Callable[[int], None],
    home: bool = False,
    processes: int = 1,
) -> None:
    """Puts it around an application; to be called after everything else that adds middleware.

    Args:
        service: its configuration says what is there.
        drain: of the front-end.
        stopped: makes the answer to a request that comes once it stops.
        not_found: makes the answer to a request for another path than the prefix.
        denied: makes the answer to a request that is not let in.
        refused: counts an answer to what has not even become a request, by status.
        home: the status page is at `/`.
        processes: front-end processes that share the service's limits.

    Raises:
        SettingsError: a file of keys cannot be used.
    """
    set_limits(app, Limits(service.http, refused))
    # The last one that is added is the outermost.
    if drain is not None:
        app.add_middleware(Draining, drain=drain, refusal=stopped)
    auth = service.auth
    if auth.enabled:
        app.add_middleware(
            Guard,
            authenticator=Authenticator(auth),
            rights=Rights(service, home=home, free=auth.free),
            rates=Rates(auth.rate, processes=processes),
            refusal=denied,
        )
    if service.path_prefix:
        app.add_middleware(PathPrefix, prefix=service.path_prefix, not_found=not_found)
    cors = service.http.cors
    if cors.enabled:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors.access_control_allow_origins,
            allow_credentials=cors.access_control_allow_credentials,
            allow_methods=cors.access_control_allow_methods,
            allow_headers=cors.access_control_allow_headers,
            allow_origin_regex=cors.access_control_allow_origin_regex,
            expose_headers=cors.access_control_expose_headers,
            max_age=cors.max_age_s,
        )
    if service.logging.access.enabled:
        app.add_middleware(AccessLogger, options=service.logging.access, prefix=service.path_prefix)


class PathPrefix:
    """Moves every route below a path; nothing is left where it was.

    Args:
        app: what is behind; it finds its routes by the rest of the path.
        prefix: with a slash in front and none at the end.
        not_found: makes the answer to a request for another path.
    """

    def __init__(self, app: ASGIApp, *, prefix: str, not_found: Callable[[Scope], ASGIApp]) -> None:
        self._app = app
        self._prefix = prefix
        self._not_found = not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(f"{self._prefix}/"):
            inner = {**scope, "root_path": scope.get("root_path", "") + self._prefix}
            await self._app(inner, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await self._not_found(scope)(scope, receive, send)
