"""ASGI applications and middleware that a service brings along. Only marks: the server mounts them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from orchestrator.errors import DefinitionError

__all__ = ["Middleware", "Mount", "add_asgi_middleware", "asgi_app", "middleware_of", "mount_wsgi_app", "mounts_of"]

_MOUNTS: Final = "__orchestrator_mounts__"
_MIDDLEWARE: Final = "__orchestrator_middleware__"
C = TypeVar("C", bound=type)


@dataclass(frozen=True, slots=True)
class Mount:
    """An ASGI application under a path of the service.

    Attributes:
        app: any ASGI application; routes of a FastAPI one that are methods of the service get its instance as `self`.
    """

    app: Any
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Middleware:
    """An ASGI middleware class and its options."""

    cls: Any
    options: dict[str, Any]


def asgi_app(app: Any, *, path: str = "/", name: str | None = None) -> Callable[[C], C]:
    """Mounts an ASGI application (FastAPI, Starlette, ...) on a service; above or below `@service`.

    A service with one runs on the front-end's event loop, for the application and the service share one instance.

    Args:
        app: the application.
        path: where it is mounted.
        name: for `url_for`; default: the last part of the path.

    Raises:
        DefinitionError: the path does not start with `/`, or the target is no class.
    """
    if not path.startswith("/"):
        raise DefinitionError(f"asgi_app(path={path!r}): a path starts with '/'")

    def mark(cls: C) -> C:
        if not inspect.isclass(cls):
            raise DefinitionError("asgi_app goes above a class")
        _own(cls, _MOUNTS).append(Mount(app, path.rstrip("/"), name or path.strip("/").replace("/", "-") or "app"))
        return cls

    return mark


def mount_wsgi_app(cls: type, app: Any, *, path: str = "/", name: str | None = None) -> None:
    """Mounts a WSGI application (Flask, Django, ...) on a service; its calls run in threads."""
    from a2wsgi import WSGIMiddleware

    asgi_app(WSGIMiddleware(app), path=path, name=name)(cls)


def add_asgi_middleware(cls: type, middleware: Any, **options: Any) -> None:
    """Wraps all of a service's HTTP in an ASGI middleware: `middleware(app, **options)`."""
    _own(cls, _MIDDLEWARE).append(Middleware(middleware, options))


def mounts_of(cls: type) -> tuple[Mount, ...]:
    """The applications of a service and of its bases."""
    return tuple(mount for base in reversed(cls.__mro__) for mount in vars(base).get(_MOUNTS, ()))


def middleware_of(cls: type) -> tuple[Middleware, ...]:
    """The middleware of a service and of its bases, the outermost last."""
    return tuple(item for base in reversed(cls.__mro__) for item in vars(base).get(_MIDDLEWARE, ()))


def _own(cls: type, mark: str) -> list[Any]:
    found = vars(cls).get(mark)
    if found is None:
        found = []
        setattr(cls, mark, found)
    assert isinstance(found, list)
    return found
