"""ASGI applications that a service brings along, on the front-end.

Routes of a FastAPI application that are methods of the service get the service's instance as their `self`.
"""

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute

from orchestrator.sdk.asgi import middleware_of, mounts_of

__all__ = ["Extension", "MountedApp", "add_mounts", "extension_of", "mounted_lifespans"]


@dataclass(frozen=True, slots=True)
class MountedApp:
    """An application and where it goes."""

    app: Any
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Extension:
    """What a service adds to its front-end, besides its APIs.

    Attributes:
        instance: of the service, in this process; None where it runs elsewhere.
        mounts: applications, mounted in this order behind the service's own routes.
        middleware: classes and options, the outermost last.
    """

    instance: Any = None
    mounts: Sequence[MountedApp] = ()
    middleware: Sequence[tuple[Any, dict[str, Any]]] = ()


def extension_of(cls: type, instance: Any) -> Extension:
    """What a service's class was marked with.

    Args:
        instance: of the class, or None where it runs elsewhere.
    """
    mounts = [MountedApp(mount.app, mount.path, mount.name) for mount in mounts_of(cls)]
    return Extension(instance, mounts, [(item.cls, item.options) for item in middleware_of(cls)])


def add_mounts(app: FastAPI, extension: Extension, prefix: str = "") -> None:
    """Mounts the applications and wraps the front-end in the middleware."""
    for mounted in extension.mounts:
        if extension.instance is not None:
            _bind(mounted.app, extension.instance)
        app.mount(prefix + mounted.path, mounted.app, name=mounted.name)
    for cls, options in extension.middleware:
        app.add_middleware(cls, **options)


@asynccontextmanager
async def mounted_lifespans(extension: Extension) -> AsyncGenerator[None, None]:
    """Runs the start-up and shutdown of the mounted applications, which mounting alone does not."""
    async with AsyncExitStack() as stack:
        for mounted in extension.mounts:
            context = getattr(getattr(mounted.app, "router", None), "lifespan_context", None)
            if context is not None:
                await stack.enter_async_context(context(mounted.app))
        yield


def _bind(app: Any, instance: Any) -> None:
    """Gives every route that is a method of the instance's class its `self`."""
    routes = getattr(getattr(app, "router", None), "routes", None)
    if routes is None:
        return
    own = {member for base in type(instance).__mro__ for member in vars(base).values() if inspect.isfunction(member)}
    for position, route in enumerate(routes):
        if isinstance(route, (APIRoute, APIWebSocketRoute)) and route.endpoint in own:
            routes[position] = _rebuilt(route, _with_self(route.endpoint, instance))


def _with_self(function: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """The function with a signature in which FastAPI fills the first parameter itself."""

    def itself() -> Any:
        return instance

    signature = inspect.signature(function)
    first, *others = signature.parameters.values()
    bound = first.replace(default=Depends(itself), kind=inspect.Parameter.KEYWORD_ONLY)
    others = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in others]
    function.__signature__ = signature.replace(parameters=[bound, *others])  # type: ignore[attr-defined]
    return function


def _rebuilt(route: Any, endpoint: Callable[..., Any]) -> Any:
    """The same route once more: FastAPI reads the signature only when a route is made."""
    parameters = list(inspect.signature(type(route).__init__).parameters)[1:]
    known = {name: getattr(route, name) for name in parameters if hasattr(route, name)}
    return type(route)(**(known | {"endpoint": endpoint}))
