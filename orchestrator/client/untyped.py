"""A service that is known by its URL alone: its APIs, and what they take and give, are what the server's schema tells."""

import asyncio
import contextlib
import dataclasses
import logging
import shutil
import tempfile
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from orchestrator.client.endpoints import Endpoint, Form, form_of, read_schema
from orchestrator.client.exchange import EVENTS, Chunks, EventChunks, Exchange, is_events
from orchestrator.client.remote import Remote
from orchestrator.client.results import ChunkReader, json_value, result_of
from orchestrator.client.wire import build_call
from orchestrator.errors import BackendUnavailable, EndpointNotFound, InvalidInput
from orchestrator.sdk.context import running_call
from orchestrator.sdk.dependency import ServiceStream

__all__ = ["UntypedService"]

_ROOT: Final = ""
"""Name of the one argument that is the whole body."""
_PREFIX: Final = "api_"
_FILES: Final = frozenset({Form.FILE, Form.IMAGE})
_DOCUMENTS: Final = frozenset({Form.JSON, Form.TENSOR, Form.TABLE})
"""Forms whose chunks are JSON documents, so that a stream of them never is one of events that its method made itself."""
logger = logging.getLogger("orchestrator.client")


class UntypedService:
    """A service of which only the URL is known: its APIs as methods.

    An API that is called `ready`, `to_async` or `to_sync` is `api_<name>` here.

    Attributes:
        to_async: the same, every API to be awaited, or read with `async for`.
        to_sync: the same, no API to be awaited.
    """

    __slots__ = ("_awaited", "_caller")

    def __init__(self, url: str) -> None:
        self._caller = _Caller(Remote(url))
        self._awaited = False

    @property
    def to_async(self) -> "UntypedService":
        return self._as(True)

    @property
    def to_sync(self) -> "UntypedService":
        return self._as(False)

    async def ready(self) -> bool:
        """Whether the server can answer now; it has a second to say so."""
        return await self._caller.remote.ready()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        api = name.removeprefix(_PREFIX) if hasattr(UntypedService, name.removeprefix(_PREFIX)) else name
        return self._awaitable(api) if self._awaited else self._blocking(api)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._caller.known})

    def __repr__(self) -> str:
        return f"<service {self._caller.remote.url}>"

    def _as(self, awaited: bool) -> "UntypedService":
        other = UntypedService.__new__(UntypedService)
        other._caller, other._awaited = self._caller, awaited
        return other

    def _awaitable(self, api: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: _Answer(self._caller, api, args, kwargs)

    def _blocking(self, api: str) -> Callable[..., Any]:
        caller = self._caller

        def method(*args: Any, **kwargs: Any) -> Any:
            endpoint = caller.known.get(api) or caller.remote.block(caller.where(api), caller.endpoint(api))
            arguments = caller.arguments(endpoint, args, kwargs)
            if endpoint.stream:
                return ServiceStream(caller, api, arguments, lambda chunk: chunk)
            return caller.call(api, arguments)

        return method


class _Caller:
    """Calls APIs by the schema (implements `sdk.binding.ServiceCaller`, with the clients' values instead of plain forms).

    Attributes:
        known: the endpoints that were read last.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.known: Mapping[str, Endpoint] = {}
        self._dropped: set[tuple[str, str]] = set()
        self._folder: Path | None = None

    def where(self, api: str) -> str:
        """An API, for errors."""
        return f"{self.remote.url}/{api}"

    async def endpoint(self, api: str) -> Endpoint:
        """An API of the server.

        Raises:
            EndpointNotFound: it has none of that name.
        """
        if api not in self.known:
            self.known = read_schema(await self.remote.schema())
        if api not in self.known:
            raise EndpointNotFound(f"{self.remote.url} has no API {api!r}: it has {', '.join(self.known) or 'none'}")
        return self.known[api]

    def arguments(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name.

        Keywords that the API does not have are dropped, with one warning, as where the class is known.

        Raises:
            InvalidInput: these are not the API's arguments.
        """
        where = self.where(endpoint.name)
        names = () if endpoint.root is not None else endpoint.parameters
        for name in kwargs:
            if name not in names and (where, name) not in self._dropped:
                self._dropped.add((where, name))
                logger.warning("%s has no argument %r; it is left away", where, name)
        kept = {name: value for name, value in kwargs.items() if name in names}
        try:
            if endpoint.root is not None:
                return dict(zip((_ROOT,), endpoint.bind_root(args, kept), strict=False))
            return endpoint.bind(args, kept)
        except TypeError as error:
            raise InvalidInput.at([where], str(error)) from error

    def call(self, api: str, arguments: Mapping[str, Any]) -> Any:
        return self.remote.block(self.where(api), self.acall(api, arguments))

    async def acall(self, api: str, arguments: Mapping[str, Any]) -> Any:
        exchange = await self._exchange(api, arguments)
        with self._forgetting():
            return await self.remote.acall(self.where(api), exchange)

    def stream(self, api: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        exchange = self.remote.block(self.where(api), self._exchange(api, arguments))
        return self.remote.stream(self.where(api), exchange)

    async def astream(self, api: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        exchange = await self._exchange(api, arguments)
        chunks = self.remote.astream(self.where(api), exchange)
        try:
            with self._forgetting():
                async for chunk in chunks:
                    yield chunk
        finally:
            await chunks.aclose()

    async def _exchange(self, api: str, arguments: Mapping[str, Any]) -> Exchange:
        endpoint = await self.endpoint(api)
        if endpoint.root is not None:
            args, kwargs = tuple(arguments.values()), {}
        else:
            args, kwargs = (), dict(arguments)
        if any(form_of(schema) in _FILES for schema in (endpoint.root, *endpoint.parameters.values()) if schema):
            request = await asyncio.to_thread(build_call, endpoint, args, kwargs)  # it may read files
        else:
            request = build_call(endpoint, args, kwargs)
        form = form_of(endpoint.output)
        if endpoint.stream and form in _DOCUMENTS:
            request = dataclasses.replace(request, headers={**request.headers, "accept": f"{EVENTS}, */*;q=0.5"})

        def result(headers: Mapping[str, str], body: bytes) -> Any:
            return result_of(endpoint, headers, body, self._results)

        def chunks(headers: Mapping[str, str]) -> Chunks:
            if form in _DOCUMENTS and is_events(headers):
                return EventChunks(lambda text: json_value(orjson.loads(text), endpoint.output, form))
            return ChunkReader(endpoint, headers)

        return Exchange(request, result, chunks)

    def _results(self) -> Path:
        """Where files of results go: a folder of the call that this one is made for, else one that goes with this object."""
        running = running_call.get()
        if running is not None and running.workspace is not None:
            return running.workspace.folder()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="orchestrator-client-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    @contextlib.contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Has the schema read again after the server was away: it may be another version now."""
        try:
            yield
        except (BackendUnavailable, EndpointNotFound):
            self.known = {}
            raise


class _Answer(Coroutine[Any, Any, Any]):
    """What `to_async.<api>(...)` gives before anybody has asked the server what the API is: to be awaited where it has one
    answer, to be read with `async for` where it is a stream. A coroutine, so that it can be a task.
    """

    def __init__(self, caller: _Caller, api: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._caller = caller
        self._call = (api, args, kwargs)
        self._awaited: Coroutine[Any, Any, Any] | None = None
        self.__name__ = self.__qualname__ = api

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._awaited is not None:
            self._awaited.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks()

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._awaited is None:
            self._awaited = self._result()
        return self._awaited

    async def _result(self) -> Any:
        endpoint, arguments = await self._prepared()
        if endpoint.stream:
            raise TypeError(f"{self._caller.where(endpoint.name)} is a stream: read it with `async for`")
        return await self._caller.acall(endpoint.name, arguments)

    async def _chunks(self) -> AsyncGenerator[Any, None]:
        endpoint, arguments = await self._prepared()
        if not endpoint.stream:
            raise TypeError(f"{self._caller.where(endpoint.name)} is no stream: await it")
        async with contextlib.aclosing(self._caller.astream(endpoint.name, arguments)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _prepared(self) -> tuple[Endpoint, dict[str, Any]]:
        api, args, kwargs = self._call
        endpoint = await self._caller.endpoint(api)
        return endpoint, self._caller.arguments(endpoint, args, kwargs)
