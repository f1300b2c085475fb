"""A Python annotation -> what it is as data."""

import json
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin

import numpy as np
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

from orchestrator.codec import markers
from orchestrator.spec import DType, ValueKind, ValueSpec

__all__ = ["UnsupportedAnnotation", "describe"]

Direction = Literal["argument", "result"]

_SCALARS: Final[Mapping[Any, ValueKind]] = {
    str: ValueKind.TEXT,
    int: ValueKind.INTEGER,
    float: ValueKind.NUMBER,
    bool: ValueKind.BOOLEAN,
}
_OPAQUE_SCHEMAS: Final = frozenset(
    {
        "function-before", "function-wrap", "function-plain", "custom-error", "is-instance", "call", "lax-or-strict",
        "complex", "named-tuple",
    }
)  # fmt: skip
_OPAQUE_WORDS: Final = frozenset(
    {
        "validate_by_name", "populate_by_name", "custom_init",
        "coerce_numbers_to_str", "strip_whitespace", "to_lower", "to_upper",
        "str_strip_whitespace", "str_to_lower", "str_to_upper",
    }
)  # fmt: skip
"""Settings of pydantic's core schema that change a value before it is checked, or where it is looked for."""


class UnsupportedAnnotation(Exception):
    """The annotation cannot cross a network; the message says why and what can."""


def describe(annotation: Any, direction: Direction, *, rows: bool = False) -> ValueSpec:
    """Reads one annotation.

    Args:
        annotation: resolved, `Annotated` kept.
        direction: whether values of it come in or go out (a pydantic model may have another schema for each).
        rows: the value has one row an item, in a batchable API.

    Raises:
        UnsupportedAnnotation: no codec carries such a type.
    """
    base, metadata = _split(annotation)
    if base is np.ndarray or get_origin(base) is np.ndarray:
        return _array(base, metadata)
    if rows:
        item = _item_of(base)
        if item is None:
            raise UnsupportedAnnotation(
                f"a batchable API takes and returns numpy arrays or lists with one row an item, not {_shown(annotation)}"
            )
        schema = _schema(annotation, direction)
        one = describe(item, direction)
        if direction == "argument" and _is_opaque(annotation):
            one = one.model_copy(update={"kind": ValueKind.JSON, "opaque": True})
        return ValueSpec(kind=ValueKind.ROWS, json_schema=schema, item=one)
    schema = _schema(annotation, direction)
    opaque = direction == "argument" and base is not Any and _is_opaque(annotation)
    # What the user's validators take may be of any type, so only a JSON document is sure to carry it.
    kind = ValueKind.JSON if opaque else _SCALARS.get(base, ValueKind.JSON)
    return ValueSpec(kind=kind, json_schema=schema, opaque=opaque)


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """The validator of the user's own type (arrays: of anything; their codec checks them)."""
    base, _ = _split(annotation)
    return TypeAdapter(Any if base is np.ndarray or get_origin(base) is np.ndarray else annotation)


def _split(annotation: Any) -> tuple[Any, Sequence[Any]]:
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        inner, more = _split(base)
        return inner, [*more, *metadata]
    return annotation, []


def _item_of(base: Any) -> Any:
    if base is list:
        return Any
    if get_origin(base) is list:
        return get_args(base)[0]
    return None


def _array(base: Any, metadata: Sequence[Any]) -> ValueSpec:
    dtype: DType | None = None
    shape: tuple[int, ...] | None = None
    for argument in get_args(base):
        for name in get_args(argument):  # ndarray[shape, dtype[float32]]
            if isinstance(name, type) and issubclass(name, np.generic):
                dtype = _dtype(np.dtype(name).name) if not _is_abstract(name) else None
    for mark in metadata:
        if isinstance(mark, markers.DType):
            dtype = _dtype(mark.dtype)
        elif isinstance(mark, markers.Shape):
            shape = mark.dimensions
    return ValueSpec(kind=ValueKind.ARRAY, json_schema=_array_schema(dtype, shape), dtype=dtype, shape=shape)


def _is_abstract(scalar: type[np.generic]) -> bool:
    return scalar in (np.generic, np.number, np.integer, np.floating, np.inexact, np.signedinteger, np.unsignedinteger)


def _dtype(name: str) -> DType:
    if name.startswith(("str", "bytes")) or name == "object":
        return DType.BYTES
    try:
        return DType.of(name)
    except KeyError:
        known = ", ".join(dtype.numpy for dtype in DType if dtype is not DType.BYTES)
        raise UnsupportedAnnotation(f"dtype {name} has no tensor type in Triton; use one of {known}, str") from None


def _array_schema(dtype: DType | None, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """JSON Schema of nested lists; `format: tensor` with `dtype` and `shape` is what BentoML's clients look for."""
    leaf: dict[str, Any] = {}
    if dtype is not None:
        kind = "boolean" if dtype is DType.BOOL else "string" if dtype is DType.BYTES else "number"
        leaf = {"type": "integer" if "INT" in dtype else kind}
    if shape is None:
        return {"type": "array", "items": {}, "description": "numbers in nested lists"} | _tensor_words(dtype, shape)
    schema = leaf
    for axis in reversed(shape):
        schema = {"type": "array", "items": schema}
        if axis >= 0:
            schema |= {"minItems": axis, "maxItems": axis}
    return schema | _tensor_words(dtype, shape)


def _tensor_words(dtype: DType | None, shape: tuple[int, ...] | None) -> dict[str, Any]:
    words: dict[str, Any] = {"format": "tensor"}
    if dtype is not None:
        words["dtype"] = "str" if dtype is DType.BYTES else dtype.numpy
    if shape is not None:
        words["shape"] = list(shape)
    return words


def _schema(annotation: Any, direction: Direction) -> dict[str, Any]:
    try:
        schema = TypeAdapter(annotation).json_schema(mode="validation" if direction == "argument" else "serialization")
        # As the document will have it: JSON knows no infinity.
        return cast(dict[str, Any], json.loads(json.dumps(schema), parse_constant=lambda _: None))
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError, TypeError) as error:
        raise UnsupportedAnnotation(
            f"{_shown(annotation)} has no JSON form; use str, int, float, bool, list, dict, numpy.ndarray or a pydantic model"
        ) from error


def _is_opaque(annotation: Any) -> bool:
    """Whether pydantic or the user's own code may accept what the JSON Schema refuses."""
    seen: set[int] = set()

    def walk(node: Any) -> bool:
        if id(node) in seen:
            return False
        seen.add(id(node))
        if isinstance(node, Mapping):
            return _accepts_more(node) or any(walk(child) for child in node.values())
        return isinstance(node, (list, tuple)) and any(walk(child) for child in node)

    return walk(TypeAdapter(annotation).core_schema)


def _accepts_more(node: Mapping[str, Any]) -> bool:
    """Whether one node of pydantic's core schema (or its config) makes the JSON Schema stricter than the type."""
    members = node.get("cls")
    return (
        node.get("type") in _OPAQUE_SCHEMAS
        or any(node.get(word) for word in _OPAQUE_WORDS)
        or isinstance(node.get("validation_alias"), list)  # AliasChoices, AliasPath
        # Python's regular expressions are not the ones that pydantic has from the schema.
        or isinstance(node.get("pattern"), re.Pattern)
        or node.get("regex_engine") == "python-re"
        or (isinstance(members, type) and issubclass(members, Enum) and "_missing_" in vars(members))
    )


def _shown(annotation: Any) -> str:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__ if annotation.__module__ == "builtins" else f"{annotation.__module__}.{annotation.__qualname__}"
    return str(annotation).replace("typing.", "")
