"""One class -> `Definition`, whatever it depends on. Read once; only the worker, which calls it, looks at the class again."""

import inspect
import json
import typing
from collections import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.sdk.annotations import UnsupportedAnnotation, adapter_of, describe
from orchestrator.sdk.asgi import middleware_of, mounts_of
from orchestrator.sdk.class_models import check_names, read_models, stored_models
from orchestrator.sdk.context import Context
from orchestrator.sdk.decorators import api_options_of, service_options_of
from orchestrator.sdk.definition import ApiBinding, Definition
from orchestrator.sdk.dependency import dependencies_of
from orchestrator.sdk.fields import signature_of
from orchestrator.sdk.hooks import Hook, hooks_of
from orchestrator.sdk.native import models_of
from orchestrator.sdk.options import ApiOptions, ServiceOptions, check_name
from orchestrator.sdk.placement import place
from orchestrator.spec import (
    ANY,
    ApiSpec,
    ArgumentSpec,
    BatchPolicy,
    Configuration,
    Layer,
    NativeModelSpec,
    Passing,
    Placement,
    ServiceSpec,
    ValueKind,
    ValueSpec,
    merge,
)

__all__ = ["at_class", "name_of", "read_alone", "read_apis"]

QUEUE_DELAY_US: Final = 1000
"""How long Triton holds a batchable request back for others: see docs/architecture/05-performance.md for the measurement."""
_RESERVED_ROUTES: Final = frozenset(
    {"/livez", "/readyz", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json", "/schema.json"}
)
CHECKS: Final[dict[str, tuple[type | None, type]]] = {
    "__is_alive__": (None, bool),
    "__is_ready__": (None, bool),
    "__metrics__": (str, str),
}
"""Methods of a service that answer the server's own questions: what they take, what they give."""
COMMAND: Final = "__command__"
"""Method of a service that gives the command of its process, where `cmd` does not."""
_RESERVED_ARGUMENTS: Final = frozenset({"result", "effects"})
_PASSING: Final[dict[Any, Passing]] = {
    inspect.Parameter.POSITIONAL_ONLY: Passing.POSITIONAL,
    inspect.Parameter.VAR_POSITIONAL: Passing.SPREAD,
    inspect.Parameter.VAR_KEYWORD: Passing.SPREAD_KEYWORDS,
}
_ITERATORS: Final = frozenset({abc.Generator, abc.Iterator, abc.AsyncGenerator, abc.AsyncIterator})
_NOT_SHOWN: Final = object()
_FILES: Final = frozenset({ValueKind.FILE, ValueKind.IMAGE, ValueKind.TABLE, ValueKind.MANY})
_SELF_KINDS: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def read_alone(
    cls: type,
    target: str,
    overrides: Sequence[Layer] | None = (),
    *,
    models: Sequence[NativeModelSpec] | None = None,
    depends: bool = False,
) -> Definition:
    """Reads a class that has `@service`, and none of the services that it calls.

    Args:
        cls: the class.
        target: `module:Class`, where a worker process will find it.
        overrides: what others than `@service` say about how it is run, the weakest first; None where the caller goes by
            another configuration than the definition's.
        models: what its models were resolved to before, for a process that has no store and only runs the service;
            None to resolve them.
        depends: it calls other services.

    Raises:
        DefinitionError: with file and line, for anything that could not be served.
        SettingsError: the overrides contradict each other, or what `@service` says.
    """
    name, options = name_of(cls)
    configuration = _configured(cls, name, options.layer, overrides)
    if configuration.config.cmd is not None or hasattr(cls, COMMAND):
        return _read_command(cls, name, target, configuration, options.placement)
    bindings = read_apis(cls)
    apis = tuple(binding.spec for binding in bindings.values() if binding.spec.name not in CHECKS)
    checks = tuple(binding.spec for binding in bindings.values() if binding.spec.name in CHECKS)
    native, files = read_models(cls, name, models)
    check_names(cls, name, [api.name for api in apis], native)
    try:
        placed = place(
            options.placement,
            mounts=bool(mounts_of(cls)),
            models=bool(native),
            depends=depends,
            apis=apis,
            gpu=configuration.config.resources.gpu > 0,
        )
    except DefinitionError as error:
        raise at_class(cls, error.message, hint=error.hint) from None
    spec = ServiceSpec(
        name=name,
        target=target,
        doc=inspect.getdoc(cls) if cls.__doc__ else None,
        apis=apis,
        checks=checks,
        placement=placed.where,
        models=native,
        stored=stored_models(cls),
        **dict(configuration.config),
    )
    return Definition(cls, spec, bindings, configuration, files, placed.why)


def name_of(cls: type) -> tuple[str, ServiceOptions]:
    """The name of a service, and what `@service` was given.

    Raises:
        DefinitionError: the class is no service, or its name cannot be one.
    """
    options = service_options_of(cls)
    if options is None:
        raise at_class(cls, f"{cls.__name__} is not a service", hint="put @orchestrator.service above the class")
    name = options.name or cls.__name__
    try:
        check_name(name)
    except DefinitionError as error:
        raise at_class(cls, error.message, hint=error.hint) from None
    return name, options


def read_apis(cls: type) -> dict[str, ApiBinding]:
    """The APIs of a class, and then its checks, by name.

    Raises:
        DefinitionError: at the line of what could not be served.
    """
    bindings = [_read_api(cls, name, function, options) for name, function, options in _api_methods(cls)]
    if not bindings:
        raise at_class(
            cls, f"service {cls.__name__} has no API", hint="put @orchestrator.api above a method, or give cmd"
        )
    _check_routes(cls, bindings)
    checks = [_read_check(cls, check, *types) for check, types in CHECKS.items() if hasattr(cls, check)]
    return {binding.spec.name: binding for binding in [*bindings, *checks]}


def _configured(cls: type, name: str, layer: Layer, overrides: Sequence[Layer] | None) -> Configuration:
    try:
        return merge(name, [layer, *(overrides or ())])
    except SettingsError as error:
        if overrides is None:  # what is missing in the code was said elsewhere
            return merge(name, [])
        if overrides:
            raise
        raise at_class(cls, error.message, hint=error.hint) from None


def _read_command(
    cls: type, name: str, target: str, configuration: Configuration, placement: Placement | None
) -> Definition:
    """A class whose HTTP is answered by a process of its own: nothing of it runs here but `__command__`, once."""
    why = "cmd" if configuration.config.cmd is not None else COMMAND
    has = [f"the API {api!r}" for api, *_ in _api_methods(cls)]
    has += [f"the method {check}" for check in CHECKS if hasattr(cls, check)]
    has += [f"the hook {hook.__name__!r}" for kind in (Hook.STARTUP, Hook.SHUTDOWN) for hook in hooks_of(cls, kind)]
    has += [f"an application at {mount.path or '/'}" for mount in mounts_of(cls)]
    has += ["middleware" for _ in middleware_of(cls)]
    has += [f"the model {attribute!r}" for attribute in models_of(cls)]
    has += [f"the dependency {attribute!r}" for attribute in dependencies_of(cls)]
    if placement is not None:
        has.append(f"placement={placement.value!r}")
    if has:
        hint = f"take {why} away, or {has[0]}"
        raise at_class(cls, f"service {cls.__name__} has {why}, so it cannot have {has[0]}", hint=hint)
    function = inspect.getattr_static(cls, COMMAND, None)
    if function is not None:
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            raise at_class(cls, f"{cls.__name__}.{COMMAND} must be a plain method")
        if len(inspect.signature(function).parameters) != 1:
            raise _at_function(function, f"{cls.__name__}.{COMMAND} takes no argument besides self")
    spec = ServiceSpec(
        name=name,
        target=target,
        doc=inspect.getdoc(cls) if cls.__doc__ else None,
        placement=Placement.COMMAND,
        **dict(configuration.config),
    )
    return Definition(cls, spec, {}, configuration, placement_reason=f"it has {why}")


def _read_check(cls: type, name: str, takes: type | None, gives: type) -> ApiBinding:
    """One of the methods that a service may have for the server's own questions; their types are fixed."""
    function = inspect.getattr_static(cls, name)
    if not inspect.isfunction(function):
        raise at_class(cls, f"{cls.__name__}.{name} must be a plain method")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if len(parameters) != (takes is not None):
        wanted = "no argument" if takes is None else "the text"
        raise _at_function(function, f"{cls.__name__}.{name} takes {wanted} besides self")
    arguments = [
        ArgumentSpec(name="text", value=describe(takes, "argument"), passing=Passing.POSITIONAL) for _ in parameters
    ]
    spec = ApiSpec(
        name=name,
        route="",
        arguments=tuple(arguments),
        result=describe(gives, "result"),
        is_async=inspect.iscoroutinefunction(function),
    )
    renamed = [inspect.Parameter("text", inspect.Parameter.POSITIONAL_ONLY) for _ in parameters]
    adapters: dict[str, TypeAdapter[Any]] = {argument.name: adapter_of(takes) for argument in arguments}
    return ApiBinding(spec, function, adapters, TypeAdapter(gives), {}, inspect.Signature(renamed))


def _api_methods(cls: type) -> Iterator[tuple[str, Callable[..., Any], ApiOptions]]:
    """Methods with `@api`, base classes' first, in the order of their definition; an overridden one counts once."""
    names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
    for name in names:
        member = inspect.getattr_static(cls, name)
        if isinstance(member, (staticmethod, classmethod)) and api_options_of(member.__func__):
            raise _at_function(
                member.__func__, f"{cls.__name__}.{name}: an API is a plain method", hint="it takes self"
            )
        options = api_options_of(member)
        if options is not None:
            yield name, member, options


def _read_api(cls: type, name: str, function: Callable[..., Any], options: ApiOptions) -> ApiBinding:
    where = f"{cls.__name__}.{name}"
    if name.startswith("__"):
        raise _at_function(function, f"{where}: a name with two underscores in front cannot be an API")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # evaluating the user's annotations can raise anything
        raise _at_function(function, f"{where}: an annotation cannot be resolved: {error}") from error
    signature = signature_of(function)
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in _SELF_KINDS:
        raise _at_function(function, f"{where}: an API takes self")
    context = next((p.name for p in parameters[1:] if _is_context(p, hints)), None)
    taken = [p for p in parameters[1:] if p.name != context]
    root = _is_root(function, where, taken)

    arguments: list[ArgumentSpec] = []
    adapters: dict[str, TypeAdapter[Any]] = {}
    field_defaults: dict[str, FieldInfo] = {}
    for parameter, annotation in _annotated(taken, hints, options):
        if isinstance(parameter.default, FieldInfo) and not parameter.default.is_required():
            field_defaults[parameter.name] = parameter.default
        arguments.append(_read_argument(function, where, parameter, annotation, options))
        adapters[parameter.name] = adapter_of(annotation)
    stream, returns = _returned(function, options.output_spec or hints.get("return", Any))
    result = _describe(function, f"{where}: its result", returns, "result", options)
    if options.batchable and (stream or context):
        what = "a stream" if stream else "a method that takes a context"
        raise _at_function(function, f"{where}: {what} cannot be batchable", hint="its calls cannot be merged")
    spec = ApiSpec(
        name=name,
        route=options.route or f"/{name}",
        doc=inspect.getdoc(function) if function.__doc__ else None,
        arguments=tuple(arguments),
        result=result,
        batch=_batch_policy(function, where, options, arguments, result),
        root=root,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        stream=stream,
        context=context,
    )
    without_self = signature.replace(parameters=parameters[1:])
    return ApiBinding(spec, function, adapters, adapter_of(returns), field_defaults, without_self)


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    annotation = hints.get(parameter.name, inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty:
        return parameter.name in ("ctx", "context")
    return isinstance(annotation, type) and issubclass(annotation, Context)


def _is_root(function: Callable[..., Any], where: str, taken: list[inspect.Parameter]) -> bool:
    """Whether the one argument is the whole body: it is positional-only, and alone."""
    positional = [p for p in taken if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    if positional and len(taken) > 1:
        raise _at_function(
            function,
            f"{where}: a positional-only argument is the whole body, so it must be the only one",
            hint="remove the '/' to take several",
        )
    return bool(positional)


def _annotated(
    taken: list[inspect.Parameter], hints: dict[str, Any], options: ApiOptions
) -> Iterator[tuple[inspect.Parameter, Any]]:
    """The arguments and their types: from `input_spec` where it is given, else from the signature."""
    if options.input_spec is not None:
        for name, field in options.input_spec.model_fields.items():
            default = inspect.Parameter.empty if field.is_required() else field
            parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            yield parameter, typing.Annotated[field.annotation, *field.metadata, field]
        return
    for parameter in taken:
        annotation = hints.get(parameter.name, Any)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            annotation = list[annotation]  # type: ignore[valid-type]
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            annotation = dict[str, annotation]  # type: ignore[valid-type]
        elif isinstance(parameter.default, FieldInfo):
            annotation = typing.Annotated[annotation, parameter.default]
        yield parameter, annotation


def _returned(function: Callable[..., Any], annotation: Any) -> tuple[bool, Any]:
    """Whether a method gives a stream, and the type of its result, or of one chunk."""
    base, *metadata = (
        typing.get_args(annotation) if typing.get_origin(annotation) is typing.Annotated else (annotation,)
    )
    if (typing.get_origin(base) or base) in _ITERATORS:
        item = next(iter(typing.get_args(base)), Any)
        return True, typing.Annotated[item, *metadata] if metadata else item
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return True, annotation
    return False, annotation


def _read_argument(
    function: Callable[..., Any], where: str, parameter: inspect.Parameter, annotation: Any, options: ApiOptions
) -> ArgumentSpec:
    if parameter.name in _RESERVED_ARGUMENTS:
        raise _at_function(
            function, f"{where}: an argument cannot be called {parameter.name!r}", hint="it names an output"
        )
    value = _describe(function, f"{where}: argument {parameter.name!r}", annotation, "argument", options)
    passing = _PASSING.get(parameter.kind, Passing.KEYWORD)
    default: Any = parameter.default
    required = default is inspect.Parameter.empty and passing not in (Passing.SPREAD, Passing.SPREAD_KEYWORDS)
    if isinstance(default, FieldInfo):
        required = default.is_required()
        # A factory makes another value every time, and the document must be the same every time.
        default = _NOT_SHOWN if default.default_factory else default.get_default()
    if default is inspect.Parameter.empty:
        default = [] if passing is Passing.SPREAD else {}
    shown, example = (False, None) if required else _json_form(default)
    if value.kind in _FILES and default is not None:
        shown, example = False, None  # its JSON form would be a path, which no caller may send
    return ArgumentSpec(
        name=parameter.name, value=value, passing=passing, required=required, default=example, has_default_example=shown
    )


def _json_form(default: Any) -> tuple[bool, Any]:
    """Whether a default has a form in JSON (infinity has none, and a set has one for each order), and which."""
    if default is _NOT_SHOWN or isinstance(default, (set, frozenset)):
        return False, None
    try:
        form = to_jsonable_python(default)
        json.dumps(form, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False, None
    return True, form


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
    for what, value, axis in [
        *((f"argument {a.name!r}", a.value, into) for a in arguments),
        ("its result", result, out),
    ]:
        if value.kind in (ValueKind.ROWS, ValueKind.TABLE) and axis != 0:
            raise _at_function(
                function, f"{where}: {what} has its rows one below the other, so batch_dim must be 0 for it"
            )
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
            raise _at_function(
                binding.function, f"{cls.__name__}.{binding.spec.name}: route {route} is the server's own"
            )
        if route in taken:
            raise _at_function(
                binding.function, f"{cls.__name__}.{binding.spec.name}: route {route} is {taken[route]}'s already"
            )
        taken[route] = binding.spec.name


def _at_function(function: Callable[..., Any], message: str, *, hint: str | None = None) -> DefinitionError:
    code = inspect.unwrap(function).__code__
    return DefinitionError(message, file=code.co_filename, line=code.co_firstlineno, hint=hint)


def at_class(cls: type, message: str, *, hint: str | None = None) -> DefinitionError:
    """An error at the line of a class."""
    try:
        return DefinitionError(message, file=inspect.getsourcefile(cls), line=inspect.getsourcelines(cls)[1], hint=hint)
    except (OSError, TypeError):
        return DefinitionError(message, hint=hint)
