"""The service's limit of calls, for requests that are no calls of an API: mounted applications, a process of its own."""

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.errors import CallError
from orchestrator.server.admission import Admission
from orchestrator.server.paths import is_free, route_of
from orchestrator.server.patience import Caller
from orchestrator.spec import Traffic

__all__ = ["Gate"]


class Gate:
    """Admits requests as calls; a stream has its place until its end. Health, metrics and docs need none.

    Args:
        app: what is behind.
        refusal: makes the answer to a request that is refused, and counts it.
        free: more paths that need no place.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        traffic: Traffic,
        refusal: Callable[[Scope, CallError], ASGIApp],
        free: Collection[str] = (),
    ) -> None:
        self._app = app
        self._admission = admission
        self._traffic = traffic
        self._refusal = refusal
        self._free = free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_free(route := route_of(scope)) or route in self._free:
            await self._app(scope, receive, send)
            return
        try:
            caller = Caller(scope["headers"], (scope.get("client") or ("",))[0], self._traffic.priority)
            caller.within(self._traffic.timeout_s)
            ticket = await self._admission.enter(caller, 0)
        except CallError as error:
            await self._refusal(scope, error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            ticket.release()
