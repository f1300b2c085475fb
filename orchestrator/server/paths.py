"""Which path a request is for."""

from typing import Final

from starlette.types import Scope

__all__ = ["READY", "is_free", "route_of"]

READY: Final = "/readyz"
_FREE: Final = frozenset(
    {"/livez", READY, "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json", "/schema.json", "/status.json"}
)
_FREE_BELOW: Final = "/docs/"


def route_of(scope: Scope) -> str:
    """The path that routes are found by."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_free(route: str) -> bool:
    """Whether a route is always answered: a service that is full, or stops, must not look like a dead one."""
    return route in _FREE or route.startswith(_FREE_BELOW)
