"""The OpenAPI document of a service, from its spec."""

import json
from typing import Any, Final

from orchestrator.server.arguments import readable_types
from orchestrator.server.media import FILE_KINDS, FORM, JSON, MULTIPART, PLAIN, UNKNOWN, is_files
from orchestrator.server.problems import PROBLEM_SCHEMA
from orchestrator.server.results import result_types
from orchestrator.server.streams import EVENTS, LINES, stream_type
from orchestrator.spec import ApiSpec, ArgumentSpec, ValueKind, ValueSpec

__all__ = ["Components", "operation_of"]

_FAILURES: Final = {
    400: "The body does not fit: `errors` names each field.",
    413: "The body is over the limit.",
    415: "The body is of a type that this route does not read.",
    429: "Too many calls; try again after `Retry-After` seconds.",
    500: "The service failed; the server's log explains it under `request_id`.",
    503: "The service is not ready.",
    504: "The service did not answer in time.",
    "default": "An error of the service's own, with its status.",
}
_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_WORDS: Final = frozenset({"title", "description", "examples", "deprecated"})
_SCHEMA_KINDS: Final = frozenset(ValueKind) - FILE_KINDS - {ValueKind.ARRAY, ValueKind.TABLE}
"""Kinds whose results are of one schema, whatever they are sent as."""
_PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""An image of one black pixel."""


class Components:
    """The schemas that operations share, under names that do not clash."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {"Problem": PROBLEM_SCHEMA}
        self._sources: dict[str, str] = {"Problem": ""}

    def hoist(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with its `$defs` moved into the components, and its references with them."""
        definitions: dict[str, Any] = schema.get("$defs", {})
        names = {name: self._name_for(name, content) for name, content in definitions.items()}

        def moved(node: Any) -> Any:
            if isinstance(node, dict):
                return {
                    key: f"#/components/schemas/{names[value.rsplit('/', 1)[-1]]}"
                    if key == "$ref" and isinstance(value, str) and value.rsplit("/", 1)[-1] in names
                    else moved(value)
                    for key, value in node.items()
                    if key != "$defs"
                }
            return [moved(item) for item in node] if isinstance(node, list) else node

        for name, content in definitions.items():
            self.schemas[names[name]] = moved(content)
        hoisted = moved(schema)
        assert isinstance(hoisted, dict)
        return hoisted

    def _name_for(self, name: str, content: Any) -> str:
        candidate, number = name, 1
        while candidate in self._sources and self._sources[candidate] != json.dumps(content, sort_keys=True):
            number += 1
            candidate = f"{name}_{number}"
        self._sources[candidate] = json.dumps(content, sort_keys=True)
        return candidate


def operation_of(api: ApiSpec, components: Components) -> dict[str, Any]:
    """The parts of an OpenAPI operation that FastAPI cannot know: body, answers and examples."""
    responses: dict[str, Any] = {"200": _success(api, components)}
    if api.context is not None:
        responses["2XX"] = responses["200"] | {"description": "The result, with a status of the method's own."}
    for status, description in _FAILURES.items():
        responses[str(status)] = {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    required = any(argument.required for argument in api.arguments)
    return {"requestBody": {"required": required, "content": _bodies(api, components)}, "responses": responses}


def _bodies(api: ApiSpec, components: Components) -> dict[str, Any]:
    """Media type -> what a request's body of it is; the best one first, which is what Swagger UI shows."""
    content: dict[str, Any] = {}
    with_files = any(_is_file(argument.value) for argument in api.arguments)
    if with_files and (not api.root or readable_types(api)[-1] == MULTIPART):
        content[MULTIPART] = _form(api, components)
    for media_type in readable_types(api):
        if media_type == JSON and not api.root:
            content[JSON] = _fields(api, components)
        elif media_type in (JSON, PLAIN):
            content[media_type] = _root(api.arguments[0], components)
        elif media_type not in (FORM, MULTIPART):
            content[media_type] = {"schema": _BINARY}
    return content


def _fields(api: ApiSpec, components: Components) -> dict[str, Any]:
    properties = {argument.name: _property(argument, components) for argument in api.arguments}
    return {
        "schema": _object(api, properties),
        "example": {argument.name: _example(argument) for argument in api.arguments if _has_example(argument)},
    }


def _form(api: ApiSpec, components: Components) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    for argument in api.arguments:
        if not _is_file(argument.value):
            properties[argument.name] = _property(argument, components)
            continue
        words = {key: text for key, text in argument.value.json_schema.items() if key in _WORDS}
        item = argument.value.item or argument.value
        properties[argument.name] = {"type": "array", "items": _BINARY} if is_files(argument.value) else dict(_BINARY)
        properties[argument.name] |= words
        if item.media_types:
            encoding[argument.name] = {"contentType": ", ".join(item.media_types)}
    body: dict[str, Any] = {"schema": _object(api, properties)}
    return body | ({"encoding": encoding} if encoding else {})


def _root(argument: ArgumentSpec, components: Components) -> dict[str, Any]:
    return {"schema": _property(argument, components), "example": _example(argument)}


def _object(api: ApiSpec, properties: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "title": f"{api.name} arguments", "properties": properties}
    required = [argument.name for argument in api.arguments if argument.required]
    return schema | ({"required": required} if required else {})


def _success(api: ApiSpec, components: Components) -> dict[str, Any]:
    result = api.result
    schema = components.hoist(_in_json(result))
    if api.stream:
        media_type = stream_type(result)
        # Lines and events have no schema as a whole.
        whole = {} if media_type in (LINES, EVENTS) else {"schema": {"type": "string"}}
        return {
            "description": "The chunks of the result, each as soon as it is there; as events for who accepts those.",
            "content": {media_type.partition(";")[0]: whole, EVENTS: {}},
        }
    content: dict[str, Any] = {}
    for media_type in result_types(result):
        binary = media_type != JSON and (result.kind not in _SCHEMA_KINDS or is_files(result))
        content[media_type.partition(";")[0]] = {"schema": _BINARY if binary else schema}
    if result.nullable and JSON not in content:
        content[JSON] = {"schema": {"type": "null"}}
    return {"description": "The result.", "content": content}


def _is_file(value: ValueSpec) -> bool:
    return value.kind in FILE_KINDS or is_files(value)


def _in_json(value: ValueSpec) -> dict[str, Any]:
    """The schema of a value in a JSON document, where a file is a URL and bytes are text."""
    if not _is_file(value):
        return value.json_schema
    words = {key: text for key, text in value.json_schema.items() if key in _WORDS}
    item = value.item or value
    schema: dict[str, Any] = {"type": "string"}
    if item.kind is not ValueKind.BLOB:
        schema = {"type": "string", "format": "uri", "description": "a `data:` URL, or an http(s) URL of the file"}
    if is_files(value):
        schema = {"type": "array", "items": schema}
    if value.nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema | words


def _property(argument: ArgumentSpec, components: Components) -> dict[str, Any]:
    schema = components.hoist(_in_json(argument.value))
    if argument.has_default_example and "$ref" not in schema:
        schema.setdefault("default", argument.default)
    return schema


def _has_example(argument: ArgumentSpec) -> bool:
    return argument.required or argument.has_default_example


def _example(argument: ArgumentSpec) -> Any:
    if argument.has_default_example:
        return argument.default
    return example_of(argument.value)


def example_of(value: ValueSpec) -> Any:
    """A value that the schema accepts, as far as its plain words tell."""
    schema = value.json_schema
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if value.kind in (ValueKind.IMAGE, ValueKind.FILE):
        return _PIXEL if value.kind is ValueKind.IMAGE else f"data:{UNKNOWN};base64,dGV4dA=="
    if is_files(value):
        return [example_of(value.item)] if value.item else []
    if value.kind is ValueKind.ARRAY:
        shape = [axis if axis >= 0 else 1 for axis in (value.shape if value.shape is not None else (1, 1))]
        example: Any = "text" if value.dtype == "BYTES" else False if value.dtype == "BOOL" else 0
        for axis in reversed(shape):
            example = [example] * axis
        return example
    return _from_schema(schema, schema.get("$defs", {}), 0)


def _from_schema(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Any:
    if "default" in schema:
        return schema["default"]
    if "$ref" in schema and depth < 8:
        return _from_schema(definitions.get(schema["$ref"].rsplit("/", 1)[-1], {}), definitions, depth + 1)
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return _from_schema(schema[union][0], definitions, depth + 1)
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "string":
            return "text".ljust(schema.get("minLength", 0), ".")
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        case "boolean":
            return False
        case "array":
            return [_from_schema(schema.get("items", {}), definitions, depth + 1)] * max(1, schema.get("minItems", 1))
        case "object":
            required = schema.get("required", ())
            properties = schema.get("properties", {})
            return {name: _from_schema(properties.get(name, {}), definitions, depth + 1) for name in required}
        case _:
            return None
