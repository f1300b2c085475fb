"""Which scopes a route asks for."""

from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.spec import Placement, ServiceSpec

__all__ = ["EVERYTHING", "METRICS", "Rights"]

EVERYTHING: Final = "*"
"""The scope that has all others in it."""
METRICS: Final = "metrics"
_HEALTH: Final = ("/livez", "/readyz", "/healthz")
_METRICS_PAGE: Final = "/metrics"
_STATUS: Final = "/status.json"
_DOCS: Final = ("/docs", "/redoc", "/openapi.json", "/schema.json")
_DOCS_BELOW: Final = "/docs/static/"
_PAGE: Final = "/docs/status"
"""The status page itself, which has no data in it: a browser cannot send a credential when it loads a page."""
_HOME: Final = "/"
_ANYBODY: Final[frozenset[str]] = frozenset()


class Rights:
    """What one front-end asks for.

    Any one of a route's scopes is enough. Health and the status page need no credential; docs and the page's data need one, with
    whatever scope.

    Args:
        service: whose routes they are.
        home: the status page is at `/`.
        free: pages that need no credential: `docs`, `metrics`, `status`.
    """

    def __init__(self, service: ServiceSpec, *, home: bool, free: Iterable[str] = ()) -> None:
        self._rest = frozenset({service.name, EVERYTHING})
        routes: dict[str, frozenset[str] | None] = dict.fromkeys(_HEALTH)
        below: dict[str, frozenset[str] | None] = {}
        if service.metrics.enabled:
            routes[_METRICS_PAGE] = None if METRICS in free else frozenset({METRICS, EVERYTHING})
        if service.placement is not Placement.COMMAND:  # a process of its own has its own pages
            docs = None if "docs" in free else _ANYBODY
            routes |= dict.fromkeys(_DOCS, docs)
            routes |= dict.fromkeys((_PAGE, *((_HOME,) if home else ())))
            routes[_STATUS] = None if "status" in free else _ANYBODY
            below = {_DOCS_BELOW: docs, f"{_PAGE}/": None}
        for api in service.apis:
            routes.setdefault(api.route, self._rest | {f"{service.name}.{api.name}"})
        self._routes: Mapping[str, frozenset[str] | None] = routes
        self._below = below

    def of(self, route: str) -> frozenset[str] | None:
        """The scopes that let a request in; empty where any credential does, None where none is needed."""
        if route in self._routes:
            return self._routes[route]
        return next((scopes for prefix, scopes in self._below.items() if route.startswith(prefix)), self._rest)
