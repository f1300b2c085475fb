"""JSON Schema -> a type for pydantic, so that the front-end can refuse a wrong value without the user's class.

The type is never stricter than the schema, and where the schema uses a word that is not known here it is laxer: the
worker validates with the user's real type anyway.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Union

from pydantic import AfterValidator, Field
from typing_extensions import NotRequired, Required, TypedDict

__all__ = ["type_of_schema"]

_SCALARS: Final[dict[str, Any]] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_BOUNDS: Final = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LENGTHS: Final = {
    "string": {"minLength": "min_length", "maxLength": "max_length"},
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    "object": {"minProperties": "min_length", "maxProperties": "max_length"},
}
_DEEPEST: Final = 12
"""References followed one inside another; a recursive model is checked so deep, and by the worker below that."""


def type_of_schema(schema: Mapping[str, Any], *, opaque: bool = False) -> Any:
    """A type that accepts every JSON value that the schema accepts.

    Args:
        schema: JSON Schema as pydantic writes it, with its `$defs`.
        opaque: the user's validators may accept more than the schema says: take anything.
    """
    return Any if opaque else _type(schema, schema.get("$defs", {}), 0)


def _type(schema: Any, defs: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return Any
    if "$ref" in schema:
        return _type(defs.get(str(schema["$ref"]).rsplit("/", 1)[-1]), defs, depth + 1)
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return _type(schema["allOf"][0], defs, depth)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            members = [_type(member, defs, depth) for member in schema[union]]
            return Any if Any in members else Union[tuple(members)]  # noqa: UP007  # made at run time
    if "const" in schema:
        return _literal([schema["const"]])
    if "enum" in schema:
        return _literal(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return _bounded(list[_type(schema.get("items"), defs, depth)], schema, "array")  # type: ignore[misc]
    if kind == "object":
        return _object(schema, defs, depth)
    if kind == "string" and "format" in schema:
        return str
    return _bounded(_SCALARS[kind], schema, str(kind)) if kind in _SCALARS else Any


def _literal(values: list[Any]) -> Any:
    if all(value is None or isinstance(value, (str, int, bool)) for value in values):
        return Literal[tuple(values)]
    return Any


def _object(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Any:
    properties = schema.get("properties")
    if not properties:
        more = schema.get("additionalProperties", True)
        item = Any if isinstance(more, bool) else _type(more, defs, depth)
        return _bounded(dict[str, item], schema, "object")  # type: ignore[valid-type]
    required = set(schema.get("required", ()))
    fields = {
        name: (Required if name in required else NotRequired)[_type(field, defs, depth)]
        for name, field in properties.items()
    }
    return TypedDict(str(schema.get("title", "Object")), fields)  # type: ignore[operator]  # made at run time


def _bounded(base: Any, schema: Mapping[str, Any], kind: str) -> Any:
    words = _BOUNDS if kind in ("integer", "number") else _LENGTHS.get(kind, {})
    limits = {ours: schema[theirs] for theirs, ours in words.items() if theirs in schema}
    typed = Annotated[base, Field(**limits)] if limits else base
    if kind == "string" and "pattern" in schema:
        typed = Annotated[typed, AfterValidator(_matcher(str(schema["pattern"])))]
    return typed


def _matcher(pattern: str) -> Any:
    try:
        compiled = re.compile(pattern)
    except re.error:  # the schema's dialect is not Python's
        return lambda text: text

    def check(text: str) -> str:
        if not compiled.search(text):
            raise ValueError(f"String should match pattern '{pattern}'")
        return text

    return check
