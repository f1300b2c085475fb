"""`Field(...)` as the default of an argument: for Python the value in it, for the reader the whole of it."""

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final, cast

from pydantic.fields import FieldInfo

__all__ = ["field_defaults_of", "release_defaults", "signature_of"]

_FIELDS: Final = "__orchestrator_fields__"
"""On the function: argument -> the `Field` that was its default."""


def release_defaults(function: Callable[..., Any]) -> None:
    """Puts a `Field`'s own default in its place, so that `Service().method()` gets the value, as from any other default.

    One without a default (`Field(min_length=1)`) is taken away where Python allows it: the argument is then missed like
    any other. A `default_factory` runs once, here; calls that are served run it each time.
    """
    written = cast(FunctionType, inspect.unwrap(function))
    parameters = inspect.signature(written).parameters.values()
    fields = {each.name: each.default for each in parameters if isinstance(each.default, FieldInfo)}
    if not fields:
        return
    positional = list(written.__defaults__ or ())
    while positional and _is_required(positional[0]):
        del positional[0]
    keywords: Mapping[str, Any] = written.__kwdefaults__ or {}
    written.__defaults__ = tuple(map(_value, positional)) or None
    written.__kwdefaults__ = {name: _value(each) for name, each in keywords.items() if not _is_required(each)}
    setattr(written, _FIELDS, fields)


def field_defaults_of(function: Callable[..., Any]) -> Mapping[str, FieldInfo]:
    """The `Field`s that were defaults of a function's arguments, by argument."""
    found = getattr(inspect.unwrap(function), _FIELDS, {})
    assert isinstance(found, dict)
    return found


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature as it was written, `Field`s included."""
    signature = inspect.signature(function)
    fields = field_defaults_of(function)
    if not fields:
        return signature
    parameters = [p.replace(default=fields.get(p.name, p.default)) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters)


def _is_required(default: Any) -> bool:
    return isinstance(default, FieldInfo) and default.is_required()


def _value(default: Any) -> Any:
    if not isinstance(default, FieldInfo) or default.is_required() or default.default_factory_takes_validated_data:
        return default
    return default.get_default(call_default_factory=True)
