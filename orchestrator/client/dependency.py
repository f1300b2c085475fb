"""`depends(url=...)`: a service that is served elsewhere, by us or by BentoML, as an attribute of another service.

With the service's class, its calls look and behave as those of a service that is served together with its caller: arguments
are checked before they are sent, and results are of the annotations' types. Without, they are what the server's
`/schema.json` says, as with the clients.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final

from orchestrator.client.exchange import Exchange
from orchestrator.client.remote import Remote
from orchestrator.client.typed import TypedApi
from orchestrator.client.untyped import UntypedService
from orchestrator.sdk.binding import ServiceCaller
from orchestrator.sdk.definition import DependencyBinding
from orchestrator.sdk.dependency import ServiceHandle
from orchestrator.sdk.reader import name_of, read_apis
from orchestrator.spec import CalledService

__all__ = ["RemoteService", "remote_service"]

_TIMEOUT_S: Final = 60.0


def remote_service(url: str, cls: type | None = None) -> "RemoteService | UntypedService":
    """A service by its URL. Connects with its first call.

    Args:
        url: of the server, such as `http://127.0.0.1:3000`.
        cls: the service's class, where it is known.

    Raises:
        DefinitionError: the class is no service that could be called.
    """
    return UntypedService(url) if cls is None else RemoteService(url, cls)


class RemoteService(ServiceHandle):
    """A service whose class is known: as `ServiceHandle`, over HTTP.

    An API that is called `ready` is reached by `to_async` or `to_sync` alone.
    """

    __slots__ = ("_remote",)

    def __init__(self, url: str, cls: type) -> None:
        apis = {name: binding for name, binding in read_apis(cls).items() if binding.spec.route}
        name, _ = name_of(cls)
        called = CalledService(name=name, apis=tuple(each.spec for each in apis.values()), timeout_s=_TIMEOUT_S)
        self._remote = Remote(url, cls)
        super().__init__(DependencyBinding(cls, called, apis, url), _Caller(self._remote, called))

    async def ready(self) -> bool:
        """Whether the server can answer now; it has a second to say so."""
        return await self._remote.ready()


class _Caller(ServiceCaller):
    """Calls the APIs of one service over HTTP."""

    def __init__(self, remote: Remote, service: CalledService) -> None:
        self._remote = remote
        self._name = service.name
        self._apis = {api.name: TypedApi(api) for api in service.apis}

    def call(self, api: str, arguments: Mapping[str, Any]) -> Any:
        return self._remote.call(*self._exchange(api, arguments))

    async def acall(self, api: str, arguments: Mapping[str, Any]) -> Any:
        return await self._remote.acall(*self._exchange(api, arguments))

    def stream(self, api: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        return self._remote.stream(*self._exchange(api, arguments))

    def astream(self, api: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return self._remote.astream(*self._exchange(api, arguments))

    def _exchange(self, api: str, arguments: Mapping[str, Any]) -> tuple[str, Exchange]:
        return f"{self._name}.{api}", self._apis[api].exchange(arguments)
