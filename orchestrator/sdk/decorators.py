"""`@service` and `@api`: they check what they are given, mark the class and its methods, and change nothing else."""

import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel

from orchestrator.errors import DefinitionError
from orchestrator.sdk.asgi import add_asgi_middleware, asgi_app, mount_wsgi_app
from orchestrator.sdk.fields import release_defaults
from orchestrator.sdk.options import ApiOptions, ServiceOptions, check_keys, service_options

__all__ = ["api", "api_options_of", "service", "service_options_of"]

_SERVICE_MARK: Final = "__orchestrator_service__"
_API_MARK: Final = "__orchestrator_api__"

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


@overload
def service(cls: C, /) -> C: ...
@overload
def service(**options: Any) -> Callable[[C], C]: ...
def service(cls: Any = None, /, **options: Any) -> Any:
    """Marks a class as a service; the class itself stays as it is, and can be used as any other.

    It gains `mount_asgi_app(app, path=...)`, `mount_wsgi_app(app, path=...)` and `add_asgi_middleware(cls, **options)`.

    Args:
        cls: the class, where the decorator is used without parentheses.
        **options: `name` (default: the class's name), `placement` ("triton" or "frontend", where its methods run; default:
            on the front-end where they are async and only call models, or where an application is mounted; else in
            Triton), and every key of docs/configuration.md, such as `workers`
            (processes, each with an instance; default 1, or "cpu_count"), `resources` (`cpu`, `memory`, `gpu`,
            `gpu_type` of one worker) and `traffic` (`timeout` in seconds, `max_concurrency`).

    Raises:
        DefinitionError: at the line of the decorator, for an unknown option or a wrong value.
    """
    place = _caller(sys._getframe(1))
    try:
        checked = service_options(options)
    except DefinitionError as error:
        raise _placed(error, place) from None

    def mark(target: Any) -> Any:
        if not inspect.isclass(target):
            raise _placed(DefinitionError("@service goes above a class", hint="for a method, use @api"), place)
        if _SERVICE_MARK in vars(target):
            raise _placed(DefinitionError(f"{target.__name__} has @service twice"), place)
        setattr(target, _SERVICE_MARK, checked)
        # `Service.mount_asgi_app(app)` and the like, as BentoML's users write it below the class.
        for name, attach in _ATTACHED.items():
            if not hasattr(target, name):
                setattr(target, name, functools.partial(attach, target))
        return target

    return mark if cls is None else mark(cls)


@overload
def api(function: F, /) -> F: ...
@overload
def api(
    *,
    route: str | None = None,
    name: str | None = None,
    batchable: bool = False,
    batch_dim: int | tuple[int, int] = 0,
    max_batch_size: int = ...,
    max_latency_ms: float = ...,
    input_spec: type[BaseModel] | None = None,
    output_spec: type[BaseModel] | None = None,
) -> Callable[[F], F]: ...
def api(function: Any = None, /, **options: Any) -> Any:
    """Marks a method as an API of its service: one typed POST route, and one typed Triton model.

    Args:
        function: the method, where the decorator is used without parentheses.
        **options:
            route: path of the route; default `/` and the method's name.
            batchable: concurrent calls may be merged into one call of the method. Its arguments and its result are then
                arrays or lists with one row an item.
            batch_dim: axis of the rows, or a pair for arguments and result.
            max_batch_size: most rows in one call of the method, 1 or more; default 100.
            max_latency_ms: longest time that a call may take altogether; default 60 000.
            input_spec: a pydantic model whose fields are the arguments, instead of the method's own annotations.
            output_spec: a pydantic model of the result, instead of the return annotation.

    Raises:
        DefinitionError: at the line of the decorator, for an unknown option or a wrong value.
    """
    place = _caller(sys._getframe(1))
    try:
        checked = _api_options(options)
    except DefinitionError as error:
        raise _placed(error, place) from None

    def mark(target: Any) -> Any:
        if isinstance(target, (type, staticmethod, classmethod)) or not hasattr(inspect.unwrap(target), "__code__"):
            hint = "it takes self; for a class, use @service"
            raise _placed(DefinitionError("@api goes above a method", hint=hint), place)
        release_defaults(target)
        setattr(target, _API_MARK, checked)
        return target

    return mark if function is None else mark(function)


def _mount(cls: type, app: Any, *, path: str = "/", name: str | None = None) -> None:
    asgi_app(app, path=path, name=name)(cls)


_ATTACHED: Final[dict[str, Callable[..., None]]] = {
    "mount_asgi_app": _mount,
    "mount_wsgi_app": mount_wsgi_app,
    "add_asgi_middleware": add_asgi_middleware,
}
"""What a class gains by `@service`, bound to it."""


def service_options_of(cls: type) -> ServiceOptions | None:
    """What `@service` was given on this very class, or None where it has none."""
    found = vars(cls).get(_SERVICE_MARK)
    return found if isinstance(found, ServiceOptions) else None


def api_options_of(member: Any) -> ApiOptions | None:
    """What `@api` was given on this function, or None where it has none."""
    found = getattr(member, _API_MARK, None)
    return found if isinstance(found, ApiOptions) else None


def _api_options(given: dict[str, Any]) -> ApiOptions:
    known = [field.name for field in dataclasses.fields(ApiOptions)]
    check_keys(given, [*known, "name"], "@api")
    checked = {key: value for key, value in given.items() if key != "name"}  # BentoML takes `name` and ignores it
    route = checked.get("route")
    if route is not None and not (isinstance(route, str) and route.startswith("/") and not set(route) & set("?#{} ")):
        raise DefinitionError(f"@api(route={route!r}): a route starts with '/' and has no space, '?', '#' or braces")
    batchable = checked.get("batchable", False)
    if not isinstance(batchable, bool):
        raise DefinitionError(f"@api(batchable={batchable!r}): takes True or False")
    axes = checked.get("batch_dim", 0)
    pair = (axes, axes) if isinstance(axes, int) else tuple(axes) if isinstance(axes, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(axis, int) and not isinstance(axis, bool) and axis >= 0 for axis in pair):
        raise DefinitionError(f"@api(batch_dim={axes!r}): takes an axis from 0 up, or a pair of them")
    checked["batch_dim"] = pair
    size = checked.get("max_batch_size", 2)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise DefinitionError(f"@api(max_batch_size={size!r}): takes a whole number of rows from 1 up")
    for key in ("input_spec", "output_spec"):
        model = checked.get(key)
        if model is not None and not (inspect.isclass(model) and issubclass(model, BaseModel)):
            raise DefinitionError(f"@api({key}={model!r}): takes a pydantic model class")
    latency = checked.get("max_latency_ms", 1)
    if isinstance(latency, bool) or not isinstance(latency, (int, float)) or not 0 < latency < math.inf:
        raise DefinitionError(f"@api(max_latency_ms={latency!r}): takes milliseconds above 0")
    return ApiOptions(**checked)


def _caller(frame: FrameType) -> tuple[str, int]:
    return frame.f_code.co_filename, frame.f_lineno


def _placed(error: DefinitionError, place: tuple[str, int]) -> DefinitionError:
    return DefinitionError(error.message, file=place[0], line=place[1], hint=error.hint)
