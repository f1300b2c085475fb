"""A Python annotation -> what it is as data."""

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin

import numpy as np
from pydantic import TypeAdapter, WithJsonSchema
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

from orchestrator.codec import markers
from orchestrator.codec.container import container_of
from orchestrator.codec.media import concrete
from orchestrator.sdk.forms import Form, UnsupportedAnnotation, class_inside, form_of, kind_of_class, relaxed, shown
from orchestrator.spec import DType, ValueKind, ValueSpec

__all__ = ["UnsupportedAnnotation", "adapter_of", "describe"]

Direction = Literal["argument", "result"]

_SCALARS: Final[Mapping[Any, ValueKind]] = {
    str: ValueKind.TEXT,
    int: ValueKind.INTEGER,
    float: ValueKind.NUMBER,
    bool: ValueKind.BOOLEAN,
}
_CONTENTS: Final = frozenset({ValueKind.BLOB, ValueKind.IMAGE, ValueKind.FILE})
_ROWS: Final = frozenset({ValueKind.ARRAY, ValueKind.TABLE})
_ROW_ITEMS: Final = frozenset({ValueKind.BLOB, ValueKind.IMAGE})
_MARKED: Final[Mapping[Any, frozenset[ValueKind]]] = {
    markers.Shape: frozenset({ValueKind.ARRAY}),
    markers.DType: frozenset({ValueKind.ARRAY}),
    markers.ContentType: _CONTENTS,
    markers.DataframeSchema: frozenset({ValueKind.TABLE}),
}
"""Marker -> the kinds that it says something about."""
_UNKNOWN_TO_PYDANTIC: Final[Mapping[ValueKind, Any]] = dict.fromkeys(
    (ValueKind.ARRAY, ValueKind.IMAGE, ValueKind.TABLE), Any
)
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


def describe(annotation: Any, direction: Direction, *, rows: bool = False) -> ValueSpec:
    """Reads one annotation.

    Args:
        annotation: resolved, `Annotated` kept.
        direction: whether values of it come in or go out (a pydantic model may have another schema for each).
        rows: the value has one row an item, in a batchable API.

    Raises:
        UnsupportedAnnotation: no codec carries such a type.
    """
    form = form_of(annotation)
    if rows:
        return _rows(annotation, form, direction)
    if form is not None:
        return _described(form, direction)
    base, metadata = _split(annotation)
    schema = _schema(annotation, direction)
    _refuse_files(annotation)
    opaque = direction == "argument" and base is not Any and _is_opaque(annotation)
    # What the user's validators take may be of any type, so only a JSON document is sure to carry it.
    kind = ValueKind.JSON if opaque else _SCALARS.get(base, ValueKind.JSON)
    media_types: tuple[str, ...] = ()
    if direction == "result":  # what the text or the document is sent as
        media_types = _media_types(metadata)
        metadata = [mark for mark in metadata if not isinstance(mark, markers.ContentType)]
    _check_marks(kind, metadata, shown(base))
    return ValueSpec(kind=kind, json_schema=schema, opaque=opaque, media_types=media_types)


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """The validator of the user's own type; for classes that pydantic does not know, of what is written around them."""
    return TypeAdapter(annotation if form_of(annotation) is None else relaxed(annotation, _UNKNOWN_TO_PYDANTIC))


def _rows(annotation: Any, form: Form | None, direction: Direction) -> ValueSpec:
    if form is not None and form.kind in _ROWS and not form.nullable:
        return _described(form, direction)
    if form is not None and form.kind is ValueKind.MANY and not form.nullable:
        many = _described(form, direction)
        if many.item is not None and many.item.kind in _ROW_ITEMS:
            return ValueSpec(kind=ValueKind.ROWS, json_schema=many.json_schema, item=many.item)
    base, metadata = _split(annotation)
    item = _item_of(base) if form is None else None
    if item is None:
        raise UnsupportedAnnotation(
            "a batchable API takes and returns numpy arrays, DataFrames, or lists with one row an item "
            f"(of JSON values, bytes or images), not {shown(annotation)}"
        )
    schema = _schema(annotation, direction)
    _check_marks(ValueKind.ROWS, metadata, shown(base))
    one = describe(item, direction)
    if direction == "argument" and _is_opaque(annotation):
        one = one.model_copy(update={"kind": ValueKind.JSON, "opaque": True})
    return ValueSpec(kind=ValueKind.ROWS, json_schema=schema, item=one)


def _described(form: Form, direction: Direction) -> ValueSpec:
    """A value of a kind that is more than JSON."""
    if form.kind is ValueKind.MANY:
        return _many(form, direction)
    _check_marks(form.kind, form.metadata, shown(form.base))
    match form.kind:
        case ValueKind.ARRAY:
            value = _array(form.base, form.metadata)
        case ValueKind.TABLE:
            value = _table(form.metadata, direction)
        case kind:
            media_types = _media_types(form.metadata)
            value = ValueSpec(kind=kind, json_schema=_content_schema(media_types), media_types=media_types)
    schema = value.json_schema
    if form.kind is ValueKind.BLOB:
        schema = _schema(_annotated(bytes, form.metadata), direction) | schema  # its lengths
    schema = schema | _words(form.metadata, direction)
    return value.model_copy(update={"json_schema": _nullable(schema, form), "nullable": form.nullable})


def _many(form: Form, direction: Direction) -> ValueSpec:
    # A marker beside the list is for its items.
    marks = [mark for mark in form.metadata if isinstance(mark, tuple(_MARKED))]
    others = [mark for mark in form.metadata if not isinstance(mark, tuple(_MARKED))]
    item = describe(_annotated(form.item, marks), direction)
    items = list[Annotated[Any, WithJsonSchema(item.json_schema)]]
    schema = _schema(_annotated(items, others), direction)
    return ValueSpec(kind=ValueKind.MANY, json_schema=_nullable(schema, form), item=item, nullable=form.nullable)


def _nullable(schema: dict[str, Any], form: Form) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]} if form.nullable else schema


def _words(metadata: Sequence[Any], direction: Direction) -> dict[str, Any]:
    """What `Field` says in words."""
    schema = _schema(_annotated(Any, metadata), direction)
    return {key: schema[key] for key in ("title", "description", "examples", "deprecated") if key in schema}


def _annotated(base: Any, metadata: Sequence[Any]) -> Any:
    return Annotated[base, *metadata] if metadata else base


def _check_marks(kind: ValueKind, metadata: Sequence[Any], what: str) -> None:
    for mark in metadata:
        kinds = _MARKED.get(type(mark))
        if kinds is not None and kind not in kinds:
            raise UnsupportedAnnotation(f"{type(mark).__name__} says nothing about {what}; remove it")


def _media_types(metadata: Sequence[Any]) -> tuple[str, ...]:
    return next((mark.patterns for mark in reversed(metadata) if isinstance(mark, markers.ContentType)), ())


def _content_schema(media_types: tuple[str, ...]) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    if len(media_types) == 1 and concrete(media_types):
        schema["contentMediaType"] = media_types[0]
    return schema


def _table(metadata: Sequence[Any], direction: Direction) -> ValueSpec:
    marks = [mark for mark in metadata if isinstance(mark, markers.DataframeSchema)]
    form = marks[-1] if marks else markers.DataframeSchema()
    names = form.columns or ()
    record: dict[str, Any] = {"type": "object"}
    columns: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "array", "items": {}}}
    if names:
        record |= {"properties": {name: {} for name in names}}
        columns |= {"properties": {name: {"type": "array", "items": {}} for name in names}, "required": list(names)}
    forms = [{"type": "array", "items": record}, columns]
    if form.orient == "columns":
        forms.reverse()
    schema = {"anyOf": forms} if direction == "argument" else forms[0]
    return ValueSpec(kind=ValueKind.TABLE, json_schema=schema, orient=form.orient, columns=form.columns)


def _refuse_files(annotation: Any) -> None:
    """pydantic takes a path in a model for text, and the method would open whatever file a caller names."""
    path = next((found for found in class_inside(annotation) if kind_of_class(found) is ValueKind.FILE), None)
    if path is not None:
        raise UnsupportedAnnotation(
            f"{shown(annotation)} holds {shown(path)}; {_way_out(path)}, or use str for a mere name"
        )


def _way_out(cls: Any) -> str:
    return f"make it an argument or a result of its own: {shown(cls)}, {shown(cls)} | None or list[{shown(cls)}]"


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
        if isinstance(mark, markers.Shape):
            shape = mark.dimensions
    return ValueSpec(
        kind=ValueKind.ARRAY,
        json_schema=_array_schema(dtype, shape),
        dtype=dtype,
        shape=shape,
        container=container_of(base) if isinstance(base, type) and get_origin(base) is None else None,
    )


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
        inside = next(class_inside(annotation), None)
        if inside is not None:
            raise UnsupportedAnnotation(f"{shown(annotation)} holds {shown(inside)}; {_way_out(inside)}") from error
        raise UnsupportedAnnotation(
            f"{shown(annotation)} has no JSON form; use str, int, float, bool, bytes, list, dict, a pydantic model, "
            "numpy.ndarray, pathlib.Path, PIL.Image.Image or pandas.DataFrame"
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
