"""JSON Schema -> a type for pydantic, so that the front-end can refuse a wrong value without the user's class.

The type is never stricter than the user's own: where the schema cannot tell, or uses a word that is not known here, it is
laxer. The worker validates with the user's type anyway.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union

from pydantic import Field
from pydantic_core import SchemaError, SchemaValidator, core_schema
from typing_extensions import TypedDict

__all__ = ["type_of_schema"]

_SCALARS: Final[dict[str, Any]] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_NUMBERS: Final = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LIMITS: Final = {
    "integer": _NUMBERS,
    "number": _NUMBERS,
    "string": {"minLength": "min_length", "maxLength": "max_length"},
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    # No maxProperties: two JSON keys may become one Python key ("1" and "01" of a dict[int, ...]).
    "object": {"minProperties": "min_length"},
}


def type_of_schema(schema: Mapping[str, Any], *, opaque: bool = False) -> Any:
    """A type that accepts every JSON value that the user's own type accepts.

    Args:
        schema: JSON Schema as pydantic writes it, with its `$defs`.
        opaque: the user's validators may accept more than the schema says: take anything.
    """
    return Any if opaque else _Reader(schema.get("$defs", {})).type_of(schema)


class _Reader:
    """Reads one document.

    Args:
        definitions: its `$defs`.
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._types: dict[str, Any] = {}

    def type_of(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return Any
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]).rsplit("/", 1)[-1])
        if "allOf" in schema and len(schema["allOf"]) == 1:
            return self.type_of(schema["allOf"][0])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                members = [self.type_of(member) for member in schema[union]]
                return Any if Any in members else Union[tuple(members)]  # noqa: UP007  # made at run time
        if "const" in schema:
            return _literal([schema["const"]])
        if "enum" in schema:
            return _literal(schema["enum"])
        match schema.get("type"):
            case "array":
                return self._array(schema)
            case "object":
                return self._object(schema)
            case "string" if "format" in schema:
                return Any  # pydantic reads many of them from numbers too: dates, durations, addresses
            case str(kind) if kind in _SCALARS:
                return _bounded(_SCALARS[kind], schema, kind)
            case _:
                return Any

    def _reference(self, name: str) -> Any:
        if name not in self._types:
            self._types[name] = Any  # where the definition holds itself; the worker checks the levels below
            self._types[name] = self.type_of(self._definitions.get(name))
        return self._types[name]

    def _array(self, schema: Mapping[str, Any]) -> Any:
        item = Any if "prefixItems" in schema else self.type_of(schema.get("items"))
        if schema.get("uniqueItems"):  # of a set, which is counted once the doubles are gone
            schema = {key: value for key, value in schema.items() if key != "maxItems"}
        return _bounded(list[item], schema, "array")  # type: ignore[valid-type]

    def _object(self, schema: Mapping[str, Any]) -> Any:
        properties = schema.get("properties")
        if not properties:
            more = schema.get("additionalProperties", True)
            item = Any if isinstance(more, bool) else self.type_of(more)
            return _bounded(dict[str, item], schema, "object")  # type: ignore[valid-type]
        required = set(schema.get("required", ()))
        fields = {
            name: (Required if name in required else NotRequired)[self.type_of(field)]
            for name, field in properties.items()
        }
        return TypedDict(str(schema.get("title", "Object")), fields)  # type: ignore[operator]  # made at run time


def _literal(values: list[Any]) -> Any:
    # Text only: an enumeration of numbers takes text that reads as one of them.
    return Literal[tuple(values)] if all(isinstance(value, str) for value in values) else Any


def _bounded(base: Any, schema: Mapping[str, Any], kind: str) -> Any:
    limits = {ours: schema[theirs] for theirs, ours in _LIMITS.get(kind, {}).items() if theirs in schema}
    if kind == "string" and "pattern" in schema and _is_pattern(schema["pattern"]):
        limits["pattern"] = schema["pattern"]
    return Annotated[base, Field(**limits)] if limits else base


def _is_pattern(pattern: Any) -> bool:
    """Whether it is of the dialect that pydantic reads by default."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except (SchemaError, TypeError):
        return False
    return True
