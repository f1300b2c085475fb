"""Another service as an attribute of a class, and the handle that calls it.

    class Reader:
        detector = orchestrator.depends(Detector)

        @orchestrator.api
        async def read(self, image: Image) -> list[str]:
            boxes = await self.detector.to_async.find(image)

`self.detector.find(image)` goes through the `ServiceCaller` that the instance is bound to: BLS in a worker of Triton's, the
network or the same event loop on the front-end. An instance that nobody bound, as in a notebook, calls an instance of the
other class in its own process.
"""

import importlib
import inspect
import sys
import tempfile
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast
from urllib.parse import urlsplit

from orchestrator.errors import DefinitionError
from orchestrator.sdk.arguments import plain_arguments, python_result
from orchestrator.sdk.binding import ServiceCaller, binding_of
from orchestrator.sdk.context import running_call
from orchestrator.sdk.decorators import service_options_of
from orchestrator.sdk.definition import ApiBinding, DependencyBinding
from orchestrator.sdk.plain_instance import PlainInstance

__all__ = ["Dependency", "ServiceHandle", "ServiceStream", "dependencies_of", "depends", "service_dependency"]

_REMOTE: Final = "orchestrator.client.dependency"
"""Named and not imported: it stands above this layer, and services without `depends(url=...)` do without it."""


class Dependency:
    """A service as an attribute of a class (a descriptor): the class gives this object, an instance a `ServiceHandle`.

    Args:
        on: the other service's class, or where it is: `Class` in the same module, or `module:Class`.
        url: where it is served elsewhere.

    Attributes:
        file, line: where the user declares it.
    """

    def __init__(self, on: type | str | None, url: str | None, *, file: str, line: int) -> None:
        self._on = on
        self.url = url
        self.file = file
        self.line = line
        self._alone: Any = None
        self._lock = threading.Lock()

    def service_class(self, owner: type) -> type | None:
        """The other service's class; None where only its URL is known.

        Args:
            owner: the class that this is an attribute of.

        Raises:
            DefinitionError: at the user's line; there is no such class.
        """
        if not isinstance(self._on, str):
            return self._on
        module_name, _, name = self._on.rpartition(":")
        try:
            module = importlib.import_module(module_name) if module_name else sys.modules[self._module(owner)]
            found = getattr(module, name)
        except (ImportError, KeyError, AttributeError):
            raise self.at(f"depends({self._on!r}): there is no such class") from None
        if not inspect.isclass(found):
            raise self.at(f"depends({self._on!r}) is not a class")
        return found

    def _module(self, owner: type) -> str:
        """Where a name without a module is looked for: beside the class, of the owner's bases, that has this attribute."""
        has = (base for base in owner.__mro__ if any(member is self for member in vars(base).values()))
        return next(has, owner).__module__

    def at(self, message: str, *, hint: str | None = None) -> DefinitionError:
        """An error at the line of the declaration."""
        return DefinitionError(message, file=self.file, line=self.line, hint=hint)

    def get(self, owner: type | None = None) -> Any:
        """An instance of the other service in this process, as BentoML has it outside of a server; or the one at its URL.

        Args:
            owner: the class that this is an attribute of, for a service that is named by text.
        """
        with self._lock:
            if self._alone is None:
                cls = self.service_class(owner) if owner is not None else None
                cls = self._on if inspect.isclass(self._on) else cls
                self._alone = _remote(str(self.url), cls) if self.url is not None else _plain_instance(self, cls)
            return self._alone

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        found = binding_of(instance)
        if found is not None:
            for name, (dependency, caller) in found.services.items():
                if inspect.getattr_static(owner, name, None) is self:
                    if caller is None:
                        return self.get(owner)
                    return ServiceHandle(dependency, caller)
        return self.get(owner)


def depends(
    on: Any = None, *, url: str | None = None, deployment: str | None = None, cluster: str | None = None
) -> Any:
    """Another service, to be called by the methods of this one.

        class Reader:
            detector = orchestrator.depends(Detector)
            speller = orchestrator.depends(url="http://spelling.example:3000")

    `self.detector.find(x)` calls its API `find` and waits; `await self.detector.to_async.find(x)` is for async methods, and
    `self.detector.to_sync.find(x)` for an async API called by a sync method. Streams are read with `for` and `async for`.
    Arguments are checked as callers' are, and errors keep their class. Services that depend on the same class share it.

    Args:
        on: the other service's class; or its name as text, `Class` or `module:Class`, where it stands further below.
        url: where it is served by somebody else, instead of together with this one; with `on`, or without.

    Raises:
        DefinitionError: at this line, for what is no service.
    """
    return service_dependency(on, url=url, deployment=deployment, cluster=cluster, depth=2)


def service_dependency(
    on: Any, *, url: str | None = None, deployment: str | None = None, cluster: str | None = None, depth: int = 1
) -> Dependency:
    """`depends`, for functions that stand between it and the user.

    Args:
        depth: frames between this and the user's line.
    """
    frame = sys._getframe(depth)
    dependency = Dependency(on, url, file=frame.f_code.co_filename, line=frame.f_lineno)
    if deployment is not None or cluster is not None:
        raise dependency.at("depends(deployment=..., cluster=...): there is no cloud behind this", hint="use url=")
    if on is None and url is None:
        raise dependency.at("depends takes the other service's class, or url=")
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise dependency.at(f"depends(url={url!r}) is no address of a service", hint="write http://host:3000")
    if not (on is None or isinstance(on, str) or (inspect.isclass(on) and service_options_of(on) is not None)):
        shown = on.__name__ if inspect.isclass(on) else type(on).__name__
        raise dependency.at(
            f"depends({shown}): that is not a service", hint="put @orchestrator.service above the class"
        )
    return dependency


def dependencies_of(cls: type) -> dict[str, Dependency]:
    """The dependencies of a class and of its bases by attribute: base classes' first, in the order of their definition."""
    found: dict[str, Dependency] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            found.pop(name, None)
            if isinstance(member, Dependency):
                found[name] = member
    return found


class ServiceHandle:
    """Another service as an instance sees it: its APIs as methods.

    Attributes:
        to_async: the same, every API to be awaited, or read with `async for`.
        to_sync: the same, no API to be awaited.
    """

    __slots__ = ("_awaited", "_caller", "_service")

    def __init__(self, service: DependencyBinding, caller: ServiceCaller, awaited: bool | None = None) -> None:
        self._service = service
        self._caller = caller
        self._awaited = awaited

    @property
    def to_async(self) -> "ServiceHandle":
        return ServiceHandle(self._service, self._caller, True)

    @property
    def to_sync(self) -> "ServiceHandle":
        return ServiceHandle(self._service, self._caller, False)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        api = self._service.apis.get(name)
        if api is None or not api.spec.route:
            has = ", ".join(each.spec.name for each in self._service.apis.values() if each.spec.route)
            raise AttributeError(f"the service {self._service.name} has no API {name!r}: it has {has}")
        return _Method(f"{self._service.name}.{name}", api, self._caller, self._awaited)

    def __repr__(self) -> str:
        return f"<service {self._service.name}>"


class _Method:
    """One API, to be called.

    Args:
        where: `Service.api`.
        awaited: whether the caller awaits the answer; None for as the API itself is written.
    """

    __slots__ = ("_api", "_awaited", "_caller", "_where")

    def __init__(self, where: str, api: ApiBinding, caller: ServiceCaller, awaited: bool | None) -> None:
        self._where = where
        self._api = api
        self._caller = caller
        self._awaited = api.spec.is_async if awaited is None else awaited

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._api.spec.name
        arguments = plain_arguments(self._where, self._api, args, kwargs)
        if self._api.spec.stream:
            return ServiceStream(self._caller, name, arguments, self._python)
        if self._awaited:
            return self._acall(arguments)
        return self._python(self._caller.call(name, arguments))

    async def _acall(self, arguments: dict[str, Any]) -> Any:
        return self._python(await self._caller.acall(self._api.spec.name, arguments))

    def _python(self, plain: Any) -> Any:
        running = running_call.get()
        workspace = running.workspace if running is not None else None
        return python_result(self._where, self._api, plain, workspace or _OUTSIDE)


class ServiceStream:
    """What a stream of another service gives: read with `for` in sync code, with `async for` in async code.

    The other service makes chunks as they are read: it is a few ahead, and stops with whoever leaves the loop.
    """

    def __init__(
        self, caller: ServiceCaller, api: str, arguments: dict[str, Any], python: Callable[[Any], Any]
    ) -> None:
        self._caller = caller
        self._call = (api, arguments)
        self._python = python
        self._chunks: Iterator[Any] | None = None
        self._achunks: AsyncGenerator[Any, None] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._chunks is None:
            self._chunks = self._caller.stream(*self._call)
        try:
            return self._python(next(self._chunks))
        except BaseException:
            # Here and now: an error keeps this stream alive with its frames, and a collection in the loop's own thread
            # could not wait for the loop.
            self.close()
            raise

    def close(self) -> None:
        """Ends it."""
        if self._chunks is not None:
            cast("_Closed", self._chunks).close()

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        # A generator of its own: Python closes it where its reader is cancelled, or forgets it.
        return self._read()

    async def _read(self) -> AsyncGenerator[Any, None]:
        chunks = self._opened()
        try:
            async for chunk in chunks:
                yield self._python(chunk)
        finally:
            await chunks.aclose()

    async def __anext__(self) -> Any:
        return self._python(await anext(self._opened()))

    async def aclose(self) -> None:
        """Ends it."""
        if self._achunks is not None:
            await self._achunks.aclose()

    def _opened(self) -> AsyncGenerator[Any, None]:
        if self._achunks is None:
            self._achunks = self._caller.astream(*self._call)
        return self._achunks


class _Closed(Protocol):
    def close(self) -> None: ...


class _Folder:
    """A folder for what calls outside of any other gave: it goes with the process."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def folder(self) -> Path:
        if self._path is None:
            held = tempfile.TemporaryDirectory(prefix="orchestrator-call-", ignore_cleanup_errors=True)
            weakref.finalize(self, held.cleanup)
            self._path = Path(held.name)
        return self._path


_OUTSIDE: Final = _Folder()


def _plain_instance(dependency: Dependency, cls: type | None) -> PlainInstance:
    if cls is None:
        raise dependency.at("the service is known by its URL alone")
    return PlainInstance.of(cls)


def _remote(url: str, cls: type | None) -> Any:
    return importlib.import_module(_REMOTE).remote_service(url, cls)
