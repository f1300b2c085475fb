"""The user's class -> `Definition`. Read once; nothing after this looks at the class again, but the worker, which calls it."""

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_jsonable_python

from orchestrator.errors import DefinitionError
from orchestrator.sdk.annotations import UnsupportedAnnotation, adapter_of, describe
from orchestrator.sdk.decorators import api_options_of, service_options_of
from orchestrator.sdk.definition import ApiBinding, Definition
from orchestrator.sdk.options import ApiOptions, check_name
from orchestrator.spec import ANY, ApiSpec, ArgumentSpec, BatchPolicy, ServiceSpec, ValueKind, ValueSpec

__all__ = ["read_service"]

QUEUE_DELAY_US: Final = 1000
"""How long Triton holds a batchable request back for others: see docs/architecture/03-compiler.md for the measurement."""
_RESERVED_ROUTES: Final = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json"})
_RESERVED_ARGUMENTS: Final = frozenset({"result"})


def read_service(cls: type, target: str) -> Definition:
    """Reads a class that has `@service`.

    Args:
        cls: the class.
        target: `module:Class`, where a worker process will find it.

    Raises:
        DefinitionError: with file and line, for anything that could not be served.
    """
    options = service_options_of(cls)
    if options is None:
        raise _at_class(cls, f"{cls.__name__} is not a service", hint="put @orchestrator.service above the class")
    bindings = [_read_api(cls, function, api_options) for function, api_options in _api_methods(cls)]
    if not bindings:
        raise _at_class(cls, f"service {cls.__name__} has no API", hint="put @orchestrator.api above a method")
    _check_routes(cls, bindings)
    name = options.name or cls.__name__
    try:
        check_name(name)
    except DefinitionError as error:
        raise _at_class(cls, error.message, hint=error.hint) from None
    spec = ServiceSpec(
        name=name,
        target=target,
        doc=inspect.getdoc(cls) if cls.__doc__ else None,
        apis=tuple(binding.spec for binding in bindings),
        workers=options.workers,
        resources=options.resources,
        traffic=options.traffic,
    )
    return Definition(cls, spec, {binding.spec.name: binding for binding in bindings})


def _api_methods(cls: type) -> Iterator[tuple[Callable[..., Any], ApiOptions]]:
    """Methods with `@api`, base classes' first, in the order of their definition; an overridden one counts once."""
    names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
    for name in names:
        member = inspect.getattr_static(cls, name)
        if isinstance(member, (staticmethod, classmethod)) and api_options_of(member.__func__):
            raise _at_function(member.__func__, f"{cls.__name__}.{name}: an API is a plain method", hint="it takes self")
        options = api_options_of(member)
        if options is not None:
            yield member, options


def _read_api(cls: type, function: Callable[..., Any], options: ApiOptions) -> ApiBinding:
    name = function.__name__
    where = f"{cls.__name__}.{name}"
    if name.startswith("__"):
        raise _at_function(function, f"{where}: a name with two underscores in front cannot be an API")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _at_function(function, f"{where}: async methods and generators are not served yet", hint="use a plain def")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001  # evaluating the user's annotations can raise anything
        raise _at_function(function, f"{where}: an annotation cannot be resolved: {error}") from error

    arguments: list[ArgumentSpec] = []
    adapters: dict[str, TypeAdapter[Any]] = {}
    field_defaults: dict[str, FieldInfo] = {}
    own, *parameters = inspect.signature(function).parameters.values() or [None]
    if own is None or own.kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise _at_function(function, f"{where}: an API takes self")
    for parameter in parameters:
        annotation = hints.get(parameter.name, Any)
        if isinstance(parameter.default, FieldInfo):
            annotation = typing.Annotated[annotation, parameter.default]
            if not parameter.default.is_required():
                field_defaults[parameter.name] = parameter.default
        arguments.append(_read_argument(function, where, parameter, annotation, options))
        adapters[parameter.name] = adapter_of(annotation)
    returns = hints.get("return", Any)
    result = _describe(function, f"{where}: its result", returns, "result", options)
    spec = ApiSpec(
        name=name,
        route=options.route or f"/{name}",
        doc=inspect.getdoc(function) if function.__doc__ else None,
        arguments=tuple(arguments),
        result=result,
        batch=_batch_policy(function, where, options, arguments, result),
    )
    return ApiBinding(spec, function, adapters, adapter_of(returns), field_defaults)


def _read_argument(
    function: Callable[..., Any], where: str, parameter: inspect.Parameter, annotation: Any, options: ApiOptions
) -> ArgumentSpec:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise _at_function(function, f"{where}: *{parameter.name} is not served yet", hint="name the arguments")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise _at_function(function, f"{where}: calls name their arguments, {parameter.name!r} too", hint="remove the '/'")
    if parameter.name in _RESERVED_ARGUMENTS:
        raise _at_function(function, f"{where}: an argument cannot be called {parameter.name!r}", hint="it names the output")
    value = _describe(function, f"{where}: argument {parameter.name!r}", annotation, "argument", options)
    default: Any = parameter.default
    required = default is inspect.Parameter.empty
    if isinstance(default, FieldInfo):
        required = default.is_required()
        default = None if required else default.get_default(call_default_factory=True, validated_data={})
    shown = True
    try:
        example = None if required else to_jsonable_python(default)
    except PydanticSerializationError:
        shown, example = False, None
    return ArgumentSpec(
        name=parameter.name,
        value=value,
        required=required,
        default=example,
        has_default_example=shown and not required,
    )


def _describe(
    function: Callable[..., Any], where: str, annotation: Any, direction: Any, options: ApiOptions
) -> ValueSpec:
    try:
        return describe(annotation, direction, rows=options.batchable)
    except UnsupportedAnnotation as error:
        raise _at_function(function, f"{where}: {error}") from error


def _batch_policy(
    function: Callable[..., Any], where: str, options: ApiOptions, arguments: list[ArgumentSpec], result: ValueSpec
) -> BatchPolicy | None:
    if not options.batchable:
        return None
    if not arguments:
        raise _at_function(function, f"{where}: a batchable API needs an argument with rows")
    into, out = options.batch_dim
    for what, value, axis in [*((f"argument {a.name!r}", a.value, into) for a in arguments), ("its result", result, out)]:
        if value.kind is ValueKind.ROWS and axis != 0:
            raise _at_function(function, f"{where}: {what} is a list, so batch_dim must be 0 for it")
        if value.shape is not None and (len(value.shape) <= axis or value.shape[axis] != ANY):
            raise _at_function(
                function,
                f"{where}: {what} has shape {value.shape}, whose batch axis {axis} is not of any length",
                hint="write -1 for the batch axis, such as Shape((-1, 4))",
            )
    return BatchPolicy(
        max_batch_size=options.max_batch_size,
        max_latency_ms=float(options.max_latency_ms),
        queue_delay_us=min(QUEUE_DELAY_US, int(options.max_latency_ms * 1000)),
        input_axis=into,
        output_axis=out,
    )


def _check_routes(cls: type, bindings: list[ApiBinding]) -> None:
    taken: dict[str, str] = {}
    for binding in bindings:
        route = binding.spec.route
        if route in _RESERVED_ROUTES:
            raise _at_function(binding.function, f"{cls.__name__}.{binding.spec.name}: route {route} is the server's own")
        if route in taken:
            raise _at_function(
                binding.function, f"{cls.__name__}.{binding.spec.name}: route {route} is {taken[route]}'s already"
            )
        taken[route] = binding.spec.name


def _at_function(function: Callable[..., Any], message: str, *, hint: str | None = None) -> DefinitionError:
    code = inspect.unwrap(function).__code__
    return DefinitionError(message, file=code.co_filename, line=code.co_firstlineno, hint=hint)


def _at_class(cls: type, message: str, *, hint: str | None = None) -> DefinitionError:
    try:
        return DefinitionError(
            message, file=inspect.getsourcefile(cls), line=inspect.getsourcelines(cls)[1], hint=hint
        )
    except (OSError, TypeError):
        return DefinitionError(message, hint=hint)
