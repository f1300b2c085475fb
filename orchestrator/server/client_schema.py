"""`/schema.json`: what BentoML's own clients read before their first call.

It is JSON Schema with three types of their own, which tell the client how to send an argument and what to make of a result:
`tensor`, `dataframe` and `file`. References are resolved, since the client follows none.
"""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.spec import ApiSpec, ArgumentSpec, DType, ServiceSpec, ValueKind, ValueSpec

__all__ = ["client_schema"]

_TENSORS: Final = {"torch": "torch-tensor", "tensorflow": "tf-tensor"}
_NUMPY_NAMES: Final = {DType.BOOL: "bool_", DType.BYTES: "str_"}
"""The client looks the type up in numpy, which has no `bool` and no `str` in some versions."""
_WORDS: Final = frozenset({"title", "description", "default", "examples", "deprecated"})


def client_schema(service: ServiceSpec) -> dict[str, Any]:
    """The document of one service."""
    document: dict[str, Any] = {
        "name": service.name,
        "type": "service",
        "routes": [_route(api) for api in service.apis],
        "paths": {api.route: {"mounted": False} for api in service.apis},
    }
    return document | ({"description": service.doc} if service.doc else {})


def _route(api: ApiSpec) -> dict[str, Any]:
    output = _typed(api.result)
    if api.result.kind not in (ValueKind.TEXT, ValueKind.BLOB) and output.get("type") == "string":
        del output["type"]  # the client would take the JSON document for the text itself
    if api.stream:
        output |= {"is_stream": True}
    route: dict[str, Any] = {
        "name": api.name,
        "route": api.route,
        "batchable": api.batch is not None,
        "input": _typed(api.arguments[0].value) | {"root_input": True} if api.root else _input(api),
        "output": output,
        "is_task": False,
    }
    return route | ({"doc": api.doc, "description": api.doc} if api.doc else {})


def _input(api: ApiSpec) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "title": "Input",
        "type": "object",
        "properties": {argument.name: _property(argument) for argument in api.arguments},
    }
    required = [argument.name for argument in api.arguments if argument.required]
    return schema | ({"required": required} if required else {})


def _property(argument: ArgumentSpec) -> dict[str, Any]:
    schema = _typed(argument.value)
    if argument.has_default_example:
        schema.setdefault("default", argument.default)
    return schema


def _typed(value: ValueSpec) -> dict[str, Any]:
    """The schema of one value; None is not told of where it has no type of JSON."""
    words = {key: word for key, word in value.json_schema.items() if key in _WORDS}
    match value.kind:
        case ValueKind.ARRAY:
            return words | _tensor(value)
        case ValueKind.TABLE:
            columns = {"columns": list(value.columns)} if value.columns else {}
            return words | {"type": "dataframe", "orient": value.orient} | columns
        case ValueKind.IMAGE:
            return words | {"type": "file", "format": "image", "pil": True} | _content_type(value)
        case ValueKind.FILE:
            family = value.media_types[0].partition("/")[0] if value.media_types else "binary"
            return words | {"type": "file", "format": family} | _content_type(value)
        case ValueKind.BLOB:
            return words | {"type": "string", "format": "binary"}
        case ValueKind.MANY if value.item is not None:
            return words | {"type": "array", "items": _typed(value.item)}
        case ValueKind.ROWS if value.item is not None and value.item.kind is not ValueKind.JSON:
            return words | {"type": "array", "items": _typed(value.item)}
        case _:
            return _flat(value.json_schema, value.json_schema.get("$defs", {}), ())


def _content_type(value: ValueSpec) -> dict[str, Any]:
    return {"content_type": value.media_types[0]} if value.media_types else {}


def _tensor(value: ValueSpec) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "tensor", "format": _TENSORS.get(value.container or "", "numpy-array")}
    if value.dtype is not None:
        schema["dtype"] = _NUMPY_NAMES.get(value.dtype, value.dtype.numpy)
    if value.shape is not None:
        schema["shape"] = list(value.shape)
    return schema


def _flat(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    """The schema with its references in place; anything goes where a definition holds itself.

    Args:
        within: the definitions that this one stands in.
    """
    if not isinstance(schema, Mapping):
        return {}
    flat = {key: word for key, word in schema.items() if key != "$defs"}
    name = str(flat.pop("$ref", "")).rsplit("/", 1)[-1]
    if name:
        if name not in within:
            flat = _flat(definitions.get(name), definitions, (*within, name)) | flat
        return flat
    if "properties" in flat:
        flat["properties"] = {key: _flat(member, definitions, within) for key, member in flat["properties"].items()}
    if flat.get("type") == "array":
        flat["items"] = _flat(flat.get("items"), definitions, within)  # the client looks into it without a question
    for union in ("anyOf", "oneOf", "allOf"):
        if union in flat:
            flat[union] = [_flat(member, definitions, within) for member in flat[union]]
            if "properties" in flat[union][0]:
                flat |= flat.pop(union)[0]  # the client knows no unions, and a model only by its properties
    return flat
