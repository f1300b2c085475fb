"""The OpenAPI document of a service, from its spec."""

import json
from typing import Any, Final

from orchestrator.server.handler import media_type_of
from orchestrator.server.problems import PROBLEM_SCHEMA
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
}


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
    properties = {argument.name: _property(argument, components) for argument in api.arguments}
    required = [argument.name for argument in api.arguments if argument.required]
    schema: dict[str, Any] = {"type": "object", "title": f"{api.name} arguments", "properties": properties}
    if required:
        schema["required"] = required
    content = {
        "application/json": {
            "schema": schema,
            "example": {argument.name: _example(argument) for argument in api.arguments if _has_example(argument)},
        }
    }
    responses: dict[str, Any] = {
        "200": {
            "description": "The result.",
            "content": {media_type_of(api.result).partition(";")[0]: {"schema": components.hoist(api.result.json_schema)}},
        }
    }
    for status, description in _FAILURES.items():
        responses[str(status)] = {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return {"requestBody": {"required": bool(required), "content": content}, "responses": responses}


def _property(argument: ArgumentSpec, components: Components) -> dict[str, Any]:
    schema = components.hoist(argument.value.json_schema)
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
